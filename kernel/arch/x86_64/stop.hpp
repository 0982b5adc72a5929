// How a panic stops the other CPUs.
#pragma once

namespace tessera::kernel::arch {

void stop_other_cpus();   // by NMI
void stop_if_panicking(); // in the NMI handler: does not return if another CPU panics

} // namespace tessera::kernel::arch
