#include "kernel/mm/user_space.hpp"

#include <atomic>
#include <cstring>

#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/shootdown.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/mm/kernel_map.hpp"
#include "kernel/sched/internal.hpp"

namespace tessera::kernel {
namespace {

uint64_t* table_at(uint64_t entry) {
    return static_cast<uint64_t*>(direct_map(PhysAddr(entry & kPteAddress)));
}

unsigned index(VirtAddr a, int level) {
    return static_cast<unsigned>(a.value >> (12 + 9 * (level - 1)) & 511);
}

// A page with no right at all keeps its frame in a non-present entry, told from an empty one by
// this bit (free for software when not present).
constexpr uint64_t kNoAccess = 1ull << 10;

uint64_t bits_of(Protection p) {
    if (!p.read && !p.write && !p.execute) return kNoAccess;
    return kPtePresent | kPteUser | (p.write ? kPteWrite : 0) | (p.execute ? 0 : kPteNoExecute);
}

bool mapped(uint64_t e) {
    return e & (kPtePresent | kNoAccess);
}

PageState state_of(uint64_t e) {
    bool present = e & kPtePresent;
    return {PhysAddr(e & kPteAddress),
            {present, present && e & kPteWrite, present && !(e & kPteNoExecute)},
            (e & kPteAccessed) != 0,
            (e & kPteDirty) != 0};
}

std::atomic_ref<uint64_t> atomic(uint64_t* e) {
    return std::atomic_ref<uint64_t>(*e); // the CPU sets accessed and dirty bits behind our back
}

void free_tables(uint64_t table, int level) {
    uint64_t* entries = table_at(table);
    if (level > 1) {
        for (unsigned i = 0; i < (level == 4 ? 256u : 512u); i++) {
            if (entries[i] & kPtePresent) free_tables(entries[i], level - 1);
        }
    }
    free_frame(PhysAddr(table & kPteAddress));
}

} // namespace

Result<Own<PageTable>> PageTable::create() {
    PhysAddr frame = TRY(allocate_frame());
    auto* entries = static_cast<uint64_t*>(direct_map(frame));
    std::memset(entries, 0, kPageSize / 2);
    copy_kernel_half(entries);
    Own<PageTable> t(new PageTable);
    t->root_ = frame.value;
    t->table_frames_ = 1;
    return t;
}

PageTable::~PageTable() {
    // CPUs that ran it last may still have it loaded (kernel threads keep what they find).
    if (sched::thread_root() == root_) activate_kernel_only();
    arch::unload_root(root_);
    free_tables(root_, 4);
}

uint64_t* PageTable::entry(VirtAddr page, bool create) {
    uint64_t* table = table_at(root_);
    for (int level = 4; level > 1; level--) {
        uint64_t& e = table[index(page, level)];
        if (!(e & kPtePresent)) {
            if (!create) return nullptr;
            Result<PhysAddr> frame = allocate_frame();
            if (!frame) return nullptr;
            std::memset(direct_map(*frame), 0, kPageSize);
            e = frame->value | kPtePresent | kPteWrite | kPteUser;
            table_frames_++;
        }
        table = table_at(e);
    }
    return &table[index(page, 1)];
}

void PageTable::shoot_down(VirtAddr page, uint64_t pages) {
    arch::flush_translations(root_, page, pages);
}

Result<void> PageTable::map(VirtAddr page, PhysAddr frame, Protection protection) {
    if (page.page_offset() || frame.page_offset() || !is_user_range(page, kPageSize))
        return Fail(Error::InvalidArgument);
    uint64_t* e = entry(page, true);
    if (!e) return Fail(Error::NoMemory);
    uint64_t old = atomic(e).exchange(frame.value | bits_of(protection));
    if (old & kPtePresent) shoot_down(page, 1);
    return {};
}

Result<PageState> PageTable::unmap(VirtAddr page) {
    uint64_t* e = entry(page.page(), false);
    if (!e || !mapped(*e)) return Fail(Error::NotFound);
    uint64_t old = atomic(e).exchange(0);
    if (old & kPtePresent) shoot_down(page.page(), 1);
    return state_of(old);
}

void PageTable::unmap_range(VirtAddr start, uint64_t bytes) {
    if (!is_user_range(start, bytes) || bytes == 0) return;
    bool any = false;
    VirtAddr end = start + bytes;
    for (VirtAddr a = start.page(); a < end;) {
        // Step over what has no table at all.
        uint64_t* table = table_at(root_);
        int level = 4;
        while (level > 1) {
            uint64_t e = table[index(a, level)];
            if (!(e & kPtePresent)) break;
            table = table_at(e);
            level--;
        }
        uint64_t span = 1ull << (12 + 9 * (level - 1));
        if (level == 1 && mapped(table[index(a, 1)]))
            any |= (atomic(&table[index(a, 1)]).exchange(0) & kPtePresent) != 0;
        a = VirtAddr(align_down(a.value, span) + span);
    }
    if (any) shoot_down(start.page(), (end - start.page() + kPageSize - 1) >> kPageShift);
}

Result<void> PageTable::protect(VirtAddr page, Protection protection) {
    uint64_t* e = entry(page.page(), false);
    if (!e || !mapped(*e)) return Fail(Error::NotFound);
    uint64_t old = atomic(e).load(), fresh;
    do {
        fresh = (old & (kPteAddress | kPteAccessed | kPteDirty)) | bits_of(protection);
    } while (!atomic(e).compare_exchange_weak(old, fresh));
    bool rights_lost = (old & kPteWrite && !(fresh & kPteWrite)) ||
                       (old & kPtePresent && !(fresh & kPtePresent)) ||
                       (!(old & kPteNoExecute) && fresh & kPteNoExecute);
    // Rights only gained: a stale translation costs at most one more fault elsewhere; ours is
    // dropped.
    if (old & kPtePresent)
        rights_lost ? shoot_down(page.page(), 1) : arch::flush_local(page.page());
    return {};
}

Result<PageState> PageTable::query(VirtAddr page) const {
    uint64_t* e = const_cast<PageTable*>(this)->entry(page.page(), false);
    if (!e) return Fail(Error::NotFound);
    uint64_t v = atomic(e).load();
    if (!mapped(v)) return Fail(Error::NotFound);
    return state_of(v);
}

bool PageTable::test_and_clear_accessed(VirtAddr page) {
    uint64_t* e = entry(page.page(), false);
    if (!e || !mapped(*e)) return false;
    bool was = atomic(e).fetch_and(~kPteAccessed) & kPteAccessed;
    // A translation kept in this CPU's TLB would not set the bit again.
    if (was) arch::flush_local(page.page());
    return was;
}

bool PageTable::test_and_clear_dirty(VirtAddr page) {
    uint64_t* e = entry(page.page(), false);
    if (!e || !mapped(*e)) return false;
    bool was = atomic(e).fetch_and(~kPteDirty) & kPteDirty;
    if (was) shoot_down(page.page(), 1);
    return was;
}

void PageTable::activate() {
    sched::set_thread_root(root_);
}

void PageTable::activate_kernel_only() {
    sched::set_thread_root(kernel_root());
}

void PageTable::leave() {
    if (sched::thread_root() == root_) activate_kernel_only();
}

} // namespace tessera::kernel
