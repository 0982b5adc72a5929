// The first C++ that runs: reads what the loader passed, brings the machine up in order, and hands
// over to kernel_main in the first thread.

#include "base/log.hpp"
#include "boot/acpi/acpi.hpp"
#include "boot/boot_info.hpp"
#include "boot/kernel_main.hpp"
#include "boot/multiboot2/multiboot2.hpp"
#include "boot/physical_memory.hpp"
#include "boot/pvh/pvh.hpp"
#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/interrupts.hpp"
#include "kernel/arch/x86_64/machine.hpp"
#include "kernel/arch/x86_64/serial.hpp"
#include "kernel/arch/x86_64/smp.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/mm/internal.hpp"
#include "kernel/mm/kernel_map.hpp"
#include "kernel/rt/panic.hpp"
#include "kernel/sched/internal.hpp"

extern "C" {
using Initialiser = void (*)();
extern const Initialiser __init_array_start[], __init_array_end[];
[[noreturn]] void kernel_start(uint64_t protocol, uint64_t info);
}

namespace tessera::kernel::arch {

// Filled in before static constructors run.
constinit Cpu cpus[kMaxCpus] = {};

namespace {

constinit boot::BootInfo info_store{};
constinit boot::AcpiFacts acpi_store{};

// The first 4 GiB, as start.S mapped them and as the direct map always covers them.
class LowMemory final : public boot::PhysicalMemory {
  public:
    Bytes at(uint64_t address, uint64_t size) const override {
        constexpr uint64_t kLimit = 4ull << 30;
        if (address >= kLimit || size > kLimit - address) return {};
        return {reinterpret_cast<const std::byte*>(DIRECT_MAP_BASE + address), size};
    }
};

uint64_t number_option(std::string_view key) {
    std::string_view v = boot::command_line_option(info_store.command_line.view(), key);
    uint64_t n = 0;
    for (char c : v) {
        if (c < '0' || c > '9') return 0;
        n = n * 10 + static_cast<uint64_t>(c - '0');
    }
    return n;
}

void run_initialisers() {
    for (const Initialiser* i = __init_array_start; i != __init_array_end; i++)
        (*i)();
}

void read_boot_info(uint64_t protocol, uint64_t info) {
    LowMemory memory;
    Result<void> parsed = protocol == BOOT_PVH ? boot::parse_pvh(memory, info, info_store)
                                               : boot::parse_multiboot2(memory, info, info_store);
    if (!parsed)
        LOG(Failure, "boot", "the boot loader's information does not parse; some is missing");
    if (info_store.truncated)
        LOG(Warning, "boot", "the boot loader told more than there is room for");
    if (!boot::parse_acpi(memory, info_store, acpi_store))
        LOG(Warning, "boot", "no usable ACPI tables: one processor, no power control");
}

void start_memory() {
    uint64_t top = start_frames(info_store);
    start_kernel_map(top);
    add_high_frames(info_store, top);
}

void report() {
    FrameStats f = frame_stats();
    LOG(Info, "boot", "%u processor(s), %zu MiB free of %zu, TSC %lu MHz", cpu_count(), f.free >> 8,
        (f.total + f.reserved) >> 8, tsc_khz() / 1000);
    for (const boot::Module& m : info_store.module_list()) {
        LOG(Info, "boot", "module %.*s, %lu bytes", static_cast<int>(m.name.size), m.name.data,
            m.size);
    }
}

[[noreturn]] void start_machine(uint64_t protocol, uint64_t info) {
    console_start();
    log_to_console();
    load_descriptors(cpus[0]);
    read_boot_info(protocol, info);
    start_memory();
    run_initialisers(); // they may use the heap
    clock_start(acpi_store.pm_timer_port, number_option("tsc_khz"));
    if (Result<void> r = start_apic(acpi_store); !r) panic("no usable local APIC");
    cpus[0].apic_id = local_apic_id();
    start_io_apics(acpi_store);
    sched::start();
    irq_enable();
    if (number_option("cpus") != 1) start_application_processors(acpi_store);
    report();
    kernel_main();
}

} // namespace

const boot::AcpiFacts& acpi_facts() {
    return acpi_store;
}

} // namespace tessera::kernel::arch

namespace tessera::boot {

const BootInfo& boot_info() {
    return kernel::arch::info_store;
}

Bytes module_bytes(std::string_view name) {
    for (const Module& m : kernel::arch::info_store.module_list()) {
        std::string_view n = m.name.view();
        if (n.substr(0, n.find(' ')) != name) continue;
        return {static_cast<const std::byte*>(kernel::direct_map(kernel::PhysAddr(m.start))),
                m.size};
    }
    return {};
}

} // namespace tessera::boot

// Sets the canary that its own frame would be checked against: so it has none.
__attribute__((no_stack_protector)) void kernel_start(uint64_t protocol, uint64_t info) {
    using namespace tessera::kernel::arch;
    cpus[0].self = &cpus[0];
    uint64_t random = tsc() * 0x9e3779b97f4a7c15;
    if (auto r = hardware_random()) random ^= *r;
    cpus[0].canary = random & ~0xffull; // a zero byte stops string overruns
    start_machine(protocol, info);
}
