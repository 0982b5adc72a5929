#include "kernel/arch/x86_64/shootdown.hpp"

#include "base/assert.hpp"
#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/mm/kernel_map.hpp"

namespace tessera::kernel::arch {
namespace {

// The root that is about to disappear: a CPU that has it loaded changes to the kernel's own when
// told to flush. Only one disappears at a time per requester; several requesters use several slots.
std::atomic<uint64_t> dying[4];

// Asks the other CPUs that have `root` loaded to flush, and waits. The waiting is with interrupts
// on, so two CPUs doing this to each other both go on.
void flush_others(uint64_t root) {
    uint32_t tickets[kMaxCpus];
    uint64_t asked = 0;
    uint64_t saved = irq_save();
    unsigned me = cpu_id();
    for (unsigned i = 0; i < cpu_count(); i++) {
        if (i == me || cpus[i].loaded_root.load() != root) continue;
        tickets[i] = cpus[i].flush_requests.fetch_add(1) + 1;
        asked |= 1ull << i;
        send_ipi(i, kVectorFlush);
    }
    irq_restore(saved);
    for (unsigned i = 0; asked >> i; i++) {
        if (!(asked >> i & 1)) continue;
        while (static_cast<int32_t>(cpus[i].flushes_done.load() - tickets[i]) < 0)
            pause();
    }
}

} // namespace

void load_root(uint64_t root) {
    Cpu& cpu = this_cpu();
    if (cpu.loaded_root.load() == root) return;
    cpu.loaded_root.store(root); // before the load: whoever changes a table from now on asks us
    write_cr3(root);
}

void flush_local(VirtAddr page) {
    invalidate_page(page.value);
}

void flush_translations(uint64_t root, VirtAddr page, uint64_t pages) {
    ASSERT(cpu_count() == 1 || interrupts_enabled());
    std::atomic_thread_fence(std::memory_order_seq_cst);
    {
        IrqGuard guard;
        if (this_cpu().loaded_root.load() == root) {
            if (pages <= 32) {
                for (uint64_t i = 0; i < pages; i++)
                    invalidate_page(page.value + i * kPageSize);
            } else {
                write_cr3(root);
            }
        }
    }
    if (cpu_count() > 1) flush_others(root);
}

void unload_root(uint64_t root) {
    std::atomic<uint64_t>* slot = nullptr;
    while (!slot) {
        for (auto& d : dying) {
            uint64_t none = 0;
            if (d.compare_exchange_strong(none, root)) {
                slot = &d;
                break;
            }
        }
        if (!slot) pause();
    }
    {
        IrqGuard guard;
        if (this_cpu().loaded_root.load() == root) load_root(kernel_root());
    }
    if (cpu_count() > 1) flush_others(root);
    slot->store(0);
}

void on_flush_interrupt() {
    Cpu& cpu = this_cpu();
    uint32_t asked = cpu.flush_requests.load();
    uint64_t root = cpu.loaded_root.load();
    bool disappears = false;
    for (auto& d : dying)
        disappears |= d.load() == root;
    if (disappears) {
        load_root(kernel_root());
    } else {
        write_cr3(root);
    }
    cpu.flushes_done.store(asked);
}

} // namespace tessera::kernel::arch
