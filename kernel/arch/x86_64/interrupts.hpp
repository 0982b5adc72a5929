// Set-up of the I/O APICs; the rest of interrupts.cpp is in kernel/arch/contract.hpp and trap.hpp.
#pragma once

#include "boot/acpi/acpi.hpp"

namespace tessera::kernel::arch {

void start_io_apics(const boot::AcpiFacts& acpi); // all lines masked

} // namespace tessera::kernel::arch
