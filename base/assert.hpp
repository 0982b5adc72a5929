// ASSERT: a statement about this program's own correctness. On in every build. Input from a wire, a
// user program, a device or a file never reaches one: that returns an Error.
#pragma once

namespace tessera {

// Does not return. Supplied by the environment: the kernel panics, a hosted program aborts.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

} // namespace tessera

#define ASSERT(expression)                                                     \
    do {                                                                       \
        if (!(expression)) [[unlikely]]                                        \
            ::tessera::assertion_failed(#expression, __FILE_NAME__, __LINE__); \
    } while (0)
