// Starting the application processors.
#pragma once

#include "boot/acpi/acpi.hpp"

namespace tessera::kernel::arch {

// One after the other; a processor that does not come up within two seconds is left out, with a
// warning.
void start_application_processors(const boot::AcpiFacts& acpi);

} // namespace tessera::kernel::arch
