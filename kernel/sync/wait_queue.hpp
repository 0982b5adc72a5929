// WaitQueue: the one primitive in which a thread blocks (protocols.md section 8, "Blocking and
// checkpoints"). It is a condition variable with a deadline and a kick.
//
//   MutexGuard guard(m);
//   while (!ready) {
//       switch (queue.wait(m, deadline)) { case Wake::Kicked: return Fail(Error::Interrupted); ...
//       }
//   }
//
// A kick (Thread::kick: a signal, a checkpoint, death) ends every interruptible wait of that
// thread, now and until the thread clears it at the user boundary; so whoever waits must do so
// before its side effects, or keep its progress in a restart record.
#pragma once

#include "base/units.hpp"
#include "kernel/sync/mutex.hpp"

namespace tessera::kernel {

enum class Wake : uint8_t { Event, Timeout, Kicked };
enum class Interruptible : uint8_t {
    Yes,
    KillOnly, // only Thread::kick(KickKind::Kill) ends it: page waits
    No,       // bounded waits for the component's own hardware only
};

class WaitQueue {
  public:
    WaitQueue();
    ~WaitQueue(); // asserts that nobody waits
    WaitQueue(const WaitQueue&) = delete;
    WaitQueue& operator=(const WaitQueue&) = delete;

    // m is held by the caller, released while asleep, held again on return. May return Event
    // spuriously: callers loop on their condition. `deadline` is on the Thread clock; kNever waits
    // on.
    Wake wait(Mutex& m, Nanos deadline = kNever, Interruptible how = Interruptible::Yes);

    // May be called with or without the mutex, from threads only (not from interrupts).
    void wake_one();
    void wake_all();

  private:
    static constexpr unsigned kStateBytes = 96;
    alignas(16) unsigned char state_[kStateBytes];
};

} // namespace tessera::kernel
