// Vectors: who gets which, and what runs when one arrives. Legacy lines come through the I/O APICs.

#include "kernel/arch/x86_64/interrupts.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/shootdown.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/mm/dma.hpp"
#include "kernel/sched/internal.hpp"
#include "kernel/sync/spinlock.hpp"

namespace tessera::kernel::arch {
namespace {

Spinlock lock;
unsigned next_vector = kFirstIrqVector;
// Written once, under the lock, before its vector can arrive.
Function<void()> handlers[kVectorTimer - kFirstIrqVector];

struct IoApicPort {
    volatile uint32_t* registers = nullptr;
    uint32_t first = 0, count = 0;

    uint32_t read(uint32_t index) const {
        registers[0] = index;
        return registers[4];
    }
    void write(uint32_t index, uint32_t v) const {
        registers[0] = index;
        registers[4] = v;
    }
};
IoApicPort io_apics[8];
boot::AcpiFacts facts;

} // namespace

void start_io_apics(const boot::AcpiFacts& acpi) {
    facts = acpi;
    for (unsigned i = 0; i < acpi.io_apic_count; i++) {
        auto mapped = map_mmio(PhysAddr(acpi.io_apics[i].address), kPageSize);
        if (!mapped) continue;
        IoApicPort& port = io_apics[i];
        port.registers = reinterpret_cast<volatile uint32_t*>(*mapped);
        port.first = acpi.io_apics[i].first_interrupt;
        port.count = (port.read(1) >> 16 & 0xff) + 1;
        for (uint32_t line = 0; line < port.count; line++)
            port.write(0x10 + 2 * line, 1 << 16); // masked
    }
}

Result<IrqVector> allocate_irq(Function<void()> handler, unsigned cpu) {
    ASSERT(cpu < cpu_count());
    SpinGuard guard(lock);
    if (next_vector == kVectorTimer) return Fail(Error::Full);
    auto vector = static_cast<uint8_t>(next_vector++);
    handlers[vector - kFirstIrqVector] = std::move(handler);
    // Intel SDM volume 3, 11.11: fixed delivery, physical destination, edge.
    return IrqVector{vector, 0xfee00000 | static_cast<uint64_t>(cpus[cpu].apic_id) << 12, vector};
}

Result<void> route_line(unsigned line, const IrqVector& to) {
    bool active_low = line >= 16, level = line >= 16; // PCI's; ISA's are high and edge
    for (unsigned i = 0; i < facts.override_count; i++) {
        const boot::IsaOverride& o = facts.overrides[i];
        if (o.isa_interrupt != line) continue;
        line = o.global_interrupt;
        active_low = o.active_low;
        level = o.level;
        break;
    }
    SpinGuard guard(lock);
    for (const IoApicPort& port : io_apics) {
        if (!port.registers || line < port.first || line >= port.first + port.count) continue;
        uint32_t index = 0x10 + 2 * (line - port.first);
        port.write(index + 1, static_cast<uint32_t>(to.msi_address >> 12 & 0xff) << 24);
        port.write(index, to.vector | (active_low ? 1u << 13 : 0) | (level ? 1u << 15 : 0));
        return {};
    }
    return Fail(Error::NotFound);
}

void handle_interrupt(uint8_t vector) {
    if (vector == kVectorSpurious) return;
    switch (vector) {
        case kVectorTimer:
            sched::on_timer();
            break;
        case kVectorWakeUp:
            sched::on_wake_up();
            break;
        case kVectorFlush:
            on_flush_interrupt();
            break;
        default:
            if (vector < kVectorTimer && handlers[vector - kFirstIrqVector]) {
                handlers[vector - kFirstIrqVector]();
                this_cpu().irq_marked.store(true, std::memory_order_relaxed);
            }
    }
    end_of_interrupt();
}

} // namespace tessera::kernel::arch
