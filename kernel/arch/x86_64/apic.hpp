// The local APIC of each CPU: interprocessor interrupts, end of interrupt, the one-shot timer.
// xAPIC by default, x2APIC if the firmware has switched it on.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "base/units.hpp"
#include "boot/acpi/acpi.hpp"

namespace tessera::kernel::arch {

// Once, on the first CPU: maps the registers, silences the old PICs, measures the timer.
Result<void> start_apic(const boot::AcpiFacts& acpi);
// On every CPU (start_apic does the first).
void enable_local_apic();
uint32_t local_apic_id();

void end_of_interrupt();
void send_ipi(unsigned cpu, uint8_t vector);
void send_nmi(unsigned cpu);
// INIT and two start-up IPIs, as the Intel SDM (volume 3, 9.4.4) wants them.
void start_processor(uint32_t apic_id, uint8_t page);

// One interrupt (kVectorTimer) on this CPU at `deadline` or soon after; kNever: none. Interrupts
// off.
void set_timer(Nanos deadline);

} // namespace tessera::kernel::arch
