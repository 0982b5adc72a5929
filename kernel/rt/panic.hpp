// The end of a kernel that cannot go on: one block on the console, then the machine resets (or,
// under QEMU with isa-debug-exit, exits with status 255).
//
// Only for this kernel's own errors. Nothing that came from a wire, a user program, a device or a
// file leads here.
#pragma once

#include <cstdint>

namespace tessera::kernel {

// A place in the code: registers that a backtrace starts from.
struct PanicOrigin {
    uint64_t rip = 0;
    uint64_t rbp = 0;
};

[[noreturn, gnu::format(printf, 1, 2)]] void panic(const char* format, ...);
[[noreturn, gnu::format(printf, 2, 3)]] void panic_at(PanicOrigin origin, const char* format, ...);

} // namespace tessera::kernel
