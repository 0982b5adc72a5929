// Event: "it has happened", said from anywhere (interrupt handlers and shard steps included) to the
// one thread that waits for it. Auto-reset: a wait that returns Wake::Event consumes the signal,
// and signals before the wait are not lost (several of them count as one).
//
// Must outlive every signal(): whoever may still signal it (a posted operation) keeps it alive.
#pragma once

#include <atomic>

#include "base/units.hpp"
#include "kernel/sync/wait_queue.hpp"

namespace tessera::kernel {

class Event {
  public:
    Event();
    ~Event(); // asserts that nobody waits
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    void signal();
    // Takes the signal if there is one.
    bool try_take();
    // Thread context, no spinlock held. Timeout and Kicked leave a later signal pending.
    Wake wait(Nanos deadline = kNever, Interruptible how = Interruptible::No);

  private:
    static constexpr unsigned kStateBytes = 128;
    alignas(16) unsigned char state_[kStateBytes];
};

} // namespace tessera::kernel
