// Kernel threads as portable upper layers (posix, syscall, glue) see them.
//
// Implemented by kernel/sched (boots) and kernel/arch/host (pthreads).
#pragma once

#include <cstdint>

#include "base/function.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace tessera::kernel {

enum class KickKind : uint8_t {
    Signal = 1, // ends Interruptible::Yes waits
    Kill = 2,   // ends those and KillOnly ones
};

class Thread {
  public:
    // Starts a thread that runs `body` and then ends. `name` is copied (15 characters are kept).
    // Error: NoMemory. The Thread stays valid until it ended and join() or detach() was called.
    static Result<Thread*> start(const char* name, Function<void(), 64> body);
    static Thread& current();
    static Nanos now(); // the clock of deadlines: monotonic

    static void yield();
    static void sleep_until(Nanos deadline); // not interruptible; for kernel housekeeping

    void join();   // waits for the end and frees it
    void detach(); // frees itself at its end

    // Callable from any thread and from shard steps. Idempotent until cleared.
    void kick(KickKind kind);
    bool kicked() const;
    bool killed() const;
    // At the user boundary, by the thread itself, before it looks at pending signals.
    void clear_kick();

    // A slot for the layer that owns the thread (the process monitor's Task), null for plain
    // threads.
    void* owner() const;
    void set_owner(void* owner);

    const char* name() const;

  protected:
    Thread() = default;
    ~Thread() = default;
};

} // namespace tessera::kernel
