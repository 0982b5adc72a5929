// The machine's end: isa-debug-exit under QEMU, ACPI soft-off, ACPI reset, and the old ways.

#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/machine.hpp"

namespace tessera::kernel::arch {
namespace {

constexpr uint16_t kDebugExit = 0xf4;

bool virtual_machine() {
    return cpuid(1).c >> 31 & 1;
}

[[noreturn]] void stop() {
    for (;;)
        asm volatile("cli; hlt");
}

} // namespace

void power_off(uint8_t status) {
    irq_disable();
    // Nothing answers at this port unless QEMU was started with -device isa-debug-exit.
    if (virtual_machine()) out8(kDebugExit, status);
    const boot::AcpiFacts& a = acpi_facts();
    if (a.soft_off_known && a.pm1a_control_port) {
        // ACPI 4.8.3.2.1: SLP_TYP in bits 10..12, SLP_EN in bit 13.
        out16(a.pm1a_control_port, static_cast<uint16_t>(a.soft_off_a << 10 | 1 << 13));
        if (a.pm1b_control_port)
            out16(a.pm1b_control_port, static_cast<uint16_t>(a.soft_off_b << 10 | 1 << 13));
    }
    if (virtual_machine()) out16(0x604, 0x2000); // QEMU's q35, without ACPI tables
    stop();
}

void reset() {
    irq_disable();
    const boot::AcpiFacts& a = acpi_facts();
    if (a.reset_address && a.reset_space == 1)
        out8(static_cast<uint16_t>(a.reset_address), a.reset_value);
    out8(0xcf9, 6);   // PCI host bridges
    out8(0x64, 0xfe); // keyboard controller
    // No interrupt table: the next exception ends in a triple fault.
    struct [[gnu::packed]] {
        uint16_t limit;
        uint64_t base;
    } none{0, 0};
    asm volatile("lidt %0; int3" : : "m"(none));
    stop();
}

} // namespace tessera::kernel::arch
