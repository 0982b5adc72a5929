// Facts about this machine, found at start-up.
#pragma once

#include "boot/acpi/acpi.hpp"

namespace tessera::kernel::arch {

// What ACPI told; complete before kernel_main.
const boot::AcpiFacts& acpi_facts();

} // namespace tessera::kernel::arch
