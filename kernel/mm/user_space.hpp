// PageTable: the hardware page table of one user address space.
//
// It holds translations only. Frames mapped in it belong to whoever mapped them (ExCache); the
// intermediate table pages are its own. The kernel half is shared by all tables.
// Not thread-safe by itself: the address space's lock, or the shard that owns it, orders calls.
// `activate` and faults on other CPUs may run meanwhile. A change that takes rights away has
// reached every CPU when the call returns (TLB shootdown), so the frame may be reused. That waits
// for other CPUs: never call these with interrupts off.
#pragma once

#include <cstdint>

#include "base/ref.hpp"
#include "base/result.hpp"
#include "kernel/mm/address.hpp"

namespace tessera::kernel {

struct Protection {
    bool read = true; // a page with none of the three is mapped but faults
    bool write = false;
    bool execute = false;
    bool operator==(const Protection&) const = default;
};

struct PageState {
    PhysAddr frame;
    Protection protection;
    bool accessed = false;
    bool dirty = false;
};

class PageTable {
  public:
    static Result<Own<PageTable>> create(); // NoMemory
    ~PageTable();                           // must not be active on any CPU
    PageTable(const PageTable&) = delete;
    PageTable& operator=(const PageTable&) = delete;

    // Maps or remaps one page. Errors: NoMemory (an intermediate table), InvalidArgument (not
    // user).
    Result<void> map(VirtAddr page, PhysAddr frame, Protection protection);
    // What was mapped there, with its final accessed and dirty bits. NotFound: nothing was.
    Result<PageState> unmap(VirtAddr page);
    // Calls nothing per page: drops all translations in the range with one shootdown.
    void unmap_range(VirtAddr start, uint64_t bytes);
    // Keeps the frame. NotFound: nothing mapped there.
    Result<void> protect(VirtAddr page, Protection protection);

    Result<PageState> query(VirtAddr page) const; // NotFound
    // Clears the bit and says whether it was set (false if unmapped). Accessed is cleared without a
    // shootdown on other CPUs (it is a hint); dirty with one (it is not).
    bool test_and_clear_accessed(VirtAddr page);
    bool test_and_clear_dirty(VirtAddr page);

    // Makes it the current CPU's user half, for the running thread from now on (the scheduler
    // switches tables with threads). activate_kernel_only() leaves it.
    void activate();
    static void activate_kernel_only();
    // activate_kernel_only(), if the running thread has this table. A thread that has it must do so
    // before another one destroys the table.
    void leave();

    uint64_t root() const { return root_; } // for the scheduler: the CR3 value
    size_t table_frames() const { return table_frames_; }

  private:
    PageTable() = default;
    uint64_t* entry(VirtAddr page, bool create);
    void shoot_down(VirtAddr page, uint64_t pages);

    uint64_t root_ = 0;
    size_t table_frames_ = 0;
};

} // namespace tessera::kernel
