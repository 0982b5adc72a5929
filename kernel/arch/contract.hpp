// What an architecture supplies to the rest of the kernel. kernel/arch/x86_64 implements it for
// boot.
//
// The kernel is preemptible wherever interrupts are on; a spinlock switches them off. cpu_id() is
// therefore only stable with interrupts off (or in a thread bound to its CPU).
#pragma once

#include <cstdint>

#include "base/function.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace tessera::kernel::arch {

inline constexpr unsigned kMaxCpus = 64;

unsigned cpu_count(); // CPUs running
unsigned cpu_id();    // 0 .. cpu_count()-1

// Interrupts of this CPU.
bool interrupts_enabled();
uint64_t irq_save(); // switches them off; returns what irq_restore takes
void irq_restore(uint64_t saved);
void irq_enable();
void irq_disable();
// With interrupts off: opens them and halts, atomically; returns with interrupts on after one came.
void halt_until_interrupt();
void pause(); // inside a spin loop

class IrqGuard {
  public:
    IrqGuard() : saved_(irq_save()) {}
    ~IrqGuard() { irq_restore(saved_); }
    IrqGuard(const IrqGuard&) = delete;
    IrqGuard& operator=(const IrqGuard&) = delete;

  private:
    uint64_t saved_;
};

// A vector for one interrupt source. A PCI device is told address and data (MSI, MSI-X). The
// handler runs with interrupts off on the CPU that `cpu` named: it only marks work and signals
// Events. Error: Full (no vector left).
struct IrqVector {
    uint8_t vector = 0;
    uint64_t msi_address = 0;
    uint32_t msi_data = 0;
};
Result<IrqVector> allocate_irq(Function<void()> handler, unsigned cpu = 0);
// Routes a legacy line (ISA interrupt number, or PCI pin by its ACPI global number) to such a
// vector.
Result<void> route_line(unsigned global_interrupt, const IrqVector& to);

// Time. now() is monotonic since boot on every CPU.
Nanos now();
uint64_t tsc();
uint64_t tsc_khz();
// Waits by spinning: for devices that need microseconds between two register writes. At most 1 ms.
void spin_for(Nanos duration);

// Entropy of the CPU (RDRAND/RDSEED), if it has any.
Result<uint64_t> hardware_random();

// I/O ports.
uint8_t in8(uint16_t port);
uint16_t in16(uint16_t port);
uint32_t in32(uint16_t port);
void out8(uint16_t port, uint8_t value);
void out16(uint16_t port, uint16_t value);
void out32(uint16_t port, uint32_t value);

// The machine's end. `status` reaches the host under QEMU's isa-debug-exit (0x10 → exit code 33).
[[noreturn]] void power_off(uint8_t status = 0x10);
[[noreturn]] void reset();

} // namespace tessera::kernel::arch
