// The TSC as the kernel's clock, calibrated against the ACPI PM timer or the PIT.
#pragma once

#include <cstdint>

#include "base/units.hpp"

namespace tessera::kernel::arch {

// Measures the TSC. pm_timer_port 0: there is none, the PIT is used. forced_khz != 0 is believed
// instead (tsc_khz= on the command line). Time starts here.
void clock_start(uint16_t pm_timer_port, uint64_t forced_khz);

uint64_t tsc_of(Nanos t); // the TSC value at a time of now()

} // namespace tessera::kernel::arch
