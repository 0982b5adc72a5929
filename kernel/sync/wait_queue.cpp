#include "kernel/sync/wait_queue.hpp"

#include "base/assert.hpp"
#include "kernel/sync/thread_record.hpp"

namespace tessera::kernel {

namespace {
struct QueueState {
    StateLock lock;
    List<Waiter, &Waiter::link> waiters;
};
} // namespace

WaitQueue::WaitQueue() {
    static_assert(sizeof(QueueState) <= kStateBytes);
    new (state_) QueueState;
}

WaitQueue::~WaitQueue() {
    state_in<QueueState>(state_).~QueueState(); // ~List asserts that nobody waits
}

Wake WaitQueue::wait(Mutex& m, Nanos deadline, Interruptible how) {
    QueueState& q = state_in<QueueState>(state_);
    ASSERT(m.held_by_me());
    Waiter me(ThreadRecord::me());
    {
        StateGuard guard(q.lock);
        q.waiters.push_back(me);
    }
    m.unlock();
    me.sleep(deadline, how);
    bool woken;
    {
        StateGuard guard(q.lock);
        woken = !me.link.linked(); // the waker took us off
        if (!woken) q.waiters.remove(me);
    }
    m.lock();
    if (woken) return Wake::Event;
    return me.thread.is_kicked(how) ? Wake::Kicked : Wake::Timeout;
}

void WaitQueue::wake_one() {
    QueueState& q = state_in<QueueState>(state_);
    StateGuard guard(q.lock);
    if (Waiter* w = q.waiters.pop_front()) w->wake();
}

void WaitQueue::wake_all() {
    QueueState& q = state_in<QueueState>(state_);
    StateGuard guard(q.lock);
    while (Waiter* w = q.waiters.pop_front())
        w->wake();
}

} // namespace tessera::kernel
