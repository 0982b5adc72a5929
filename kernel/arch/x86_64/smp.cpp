#include "kernel/arch/x86_64/smp.hpp"

#include "base/log.hpp"
#include "boot/boot_info.hpp"
#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/shootdown.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/mm/kernel_map.hpp"
#include "kernel/sched/internal.hpp"
#include "kernel/sync/thread.hpp"

extern "C" {
extern const char trampoline_begin[], trampoline_end[], trampoline_stack[], trampoline_cpu[],
    trampoline_root[];
[[noreturn]] void ap_start(tessera::kernel::arch::Cpu* cpu);
}

namespace tessera::kernel::arch {
namespace {

std::atomic<unsigned> running{1};

bool trampoline_page_is_free() {
    for (const boot::MemoryRange& r : boot::boot_info().memory_map()) {
        if (r.kind == boot::MemoryKind::Usable && r.start <= TRAMPOLINE_PHYS &&
            r.start + r.size >= TRAMPOLINE_PHYS + kPageSize)
            return true;
    }
    return false;
}

bool start_one(unsigned id, uint32_t apic_id) {
    Result<uint64_t> stack = allocate_kernel_stack();
    if (!stack) return false;
    Cpu& cpu = cpus[id];
    cpu.self = &cpu;
    cpu.id = id;
    cpu.apic_id = apic_id;
    cpu.canary = cpus[0].canary; // threads move between CPUs in the middle of functions
    if (!sched::prepare_cpu(id, *stack)) return false;
    auto* page = static_cast<std::byte*>(direct_map(PhysAddr(TRAMPOLINE_PHYS)));
    std::memcpy(page, trampoline_begin, static_cast<size_t>(trampoline_end - trampoline_begin));
    uint64_t record = reinterpret_cast<uint64_t>(&cpu);
    std::memcpy(page + (trampoline_stack - trampoline_begin), &*stack, 8);
    std::memcpy(page + (trampoline_cpu - trampoline_begin), &record, 8);
    uint64_t root = kernel_root();
    std::memcpy(page + (trampoline_root - trampoline_begin), &root, 8);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    start_processor(apic_id, TRAMPOLINE_PHYS >> kPageShift);
    // Busy hosts are slow: give it the time it needs, sleeping between looks.
    Nanos deadline = now() + milliseconds(2000);
    while (!cpu.online.load() && now() < deadline)
        Thread::sleep_until(now() + microseconds(200));
    return cpu.online.load();
}

} // namespace

unsigned cpu_count() {
    return running.load(std::memory_order_relaxed);
}

void start_application_processors(const boot::AcpiFacts& acpi) {
    if (acpi.processor_count <= 1) return;
    if (!trampoline_page_is_free()) {
        LOG(Warning, "arch", "the page at %#x is in use: running on one processor",
            TRAMPOLINE_PHYS);
        return;
    }
    for (unsigned i = 0; i < acpi.processor_count; i++) {
        if (acpi.apic_ids[i] == cpus[0].apic_id) continue;
        unsigned id = running.load();
        if (id == kMaxCpus) break;
        if (!start_one(id, acpi.apic_ids[i])) {
            // Its record may still be used by a latecomer: no further processor is tried.
            LOG(Warning, "arch", "processor %u (APIC id %u) does not start", id, acpi.apic_ids[i]);
            break;
        }
    }
}

} // namespace tessera::kernel::arch

void ap_start(tessera::kernel::arch::Cpu* cpu) {
    using namespace tessera::kernel;
    using namespace tessera::kernel::arch;
    cpu->loaded_root.store(kernel_root());
    load_descriptors(*cpu);
    enable_local_apic();
    running.fetch_add(1);
    cpu->online.store(true);
    sched::run_cpu();
}
