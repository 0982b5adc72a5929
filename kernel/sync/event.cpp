#include "kernel/sync/event.hpp"

#include <utility>

#include "base/assert.hpp"
#include "kernel/sync/thread_record.hpp"

namespace tessera::kernel {

namespace {
struct EventState {
    StateLock lock;
    bool signalled = false;
    Waiter* waiter = nullptr;
};
} // namespace

Event::Event() {
    static_assert(sizeof(EventState) <= kStateBytes);
    new (state_) EventState;
}

Event::~Event() {
    EventState& e = state_in<EventState>(state_);
    { // A signal() that woke us may still be on its way out of the lock.
        StateGuard guard(e.lock);
        ASSERT(!e.waiter);
    }
    e.~EventState();
}

void Event::signal() {
    EventState& e = state_in<EventState>(state_);
    StateGuard guard(e.lock);
    e.signalled = true;
    if (Waiter* w = std::exchange(e.waiter, nullptr)) w->wake();
}

bool Event::try_take() {
    EventState& e = state_in<EventState>(state_);
    StateGuard guard(e.lock);
    return std::exchange(e.signalled, false);
}

Wake Event::wait(Nanos deadline, Interruptible how) {
    EventState& e = state_in<EventState>(state_);
    Waiter me(ThreadRecord::me());
    {
        StateGuard guard(e.lock);
        if (std::exchange(e.signalled, false)) return Wake::Event;
        ASSERT(!e.waiter); // one thread waits
        e.waiter = &me;
    }
    me.sleep(deadline, how);
    StateGuard guard(e.lock);
    e.waiter = nullptr;
    if (std::exchange(e.signalled, false)) return Wake::Event;
    return me.thread.is_kicked(how) ? Wake::Kicked : Wake::Timeout;
}

} // namespace tessera::kernel
