// Where a booted kernel becomes a component. Called once by kernel/arch with memory, interrupts,
// clock and scheduler up, in the first kernel thread.
#pragma once

#include "boot/kernel_main.hpp"

namespace tessera::kernel {

// A role: what role=NAME on the command line starts.
struct Role {
    const char* name;
    const char* what;
    void (*start)(); // returns when the role is over: the machine is then switched off
};

} // namespace tessera::kernel
