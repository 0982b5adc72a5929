// Mutex, WaitQueue and Event over the C++ library's, with lock ranks always checked.

#include <mutex>
#include <new>

#include "base/assert.hpp"
#include "kernel/arch/host/host_thread.hpp"
#include "kernel/sync/event.hpp"
#include "kernel/sync/mutex.hpp"
#include "kernel/sync/wait_queue.hpp"

namespace tessera::kernel {

using host::HostThread;
using host::Waiter;

struct Mutex::State {
    std::mutex lock;
    std::atomic<HostThread*> holder{nullptr};
};

namespace {
struct QueueState {
    std::mutex lock;
    List<Waiter, &Waiter::link> waiters;
};
struct EventState {
    std::mutex lock;
    bool signalled = false;
    Waiter* waiter = nullptr;
};

template <typename S, size_t N>
S& state_in(unsigned char (&storage)[N]) {
    static_assert(sizeof(S) <= N);
    return *std::launder(reinterpret_cast<S*>(storage));
}

void push_rank(HostThread& t, LockRank r) {
    ASSERT(t.held_count < HostThread::kMaxHeld);
    for (unsigned i = 0; i < t.held_count; i++)
        ASSERT(t.held[i] < r); // lock order
    t.held[t.held_count++] = r;
}

void pop_rank(HostThread& t, LockRank r) {
    for (unsigned i = t.held_count; i-- > 0;) {
        if (t.held[i] != r) continue;
        t.held[i] = t.held[--t.held_count];
        return;
    }
    ASSERT(!"a lock is released by a thread that does not hold it");
}
} // namespace

Mutex::Mutex(LockRank rank) : rank_(rank) {
    static_assert(sizeof(State) <= kStateBytes);
    new (state_) State;
}

Mutex::~Mutex() {
    State& s = *std::launder(reinterpret_cast<State*>(state_));
    ASSERT(!s.holder.load());
    s.~State();
}

void Mutex::lock() {
    State& s = *std::launder(reinterpret_cast<State*>(state_));
    HostThread& me = HostThread::me();
    ASSERT(s.holder.load() != &me);
    push_rank(me, rank_);
    s.lock.lock();
    s.holder.store(&me);
}

void Mutex::unlock() {
    State& s = *std::launder(reinterpret_cast<State*>(state_));
    HostThread& me = HostThread::me();
    ASSERT(s.holder.load() == &me);
    pop_rank(me, rank_);
    s.holder.store(nullptr);
    s.lock.unlock();
}

bool Mutex::held_by_me() const {
    return std::launder(reinterpret_cast<const State*>(state_))->holder.load() == &HostThread::me();
}

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
    Waiter me(HostThread::me());
    {
        std::lock_guard guard(q.lock);
        q.waiters.push_back(me);
    }
    m.unlock();
    me.sleep(deadline, how);
    bool woken;
    {
        std::lock_guard guard(q.lock);
        woken = !me.link.linked(); // the waker took us off
        if (!woken) q.waiters.remove(me);
    }
    m.lock();
    if (woken) return Wake::Event;
    return me.thread.is_kicked(how) ? Wake::Kicked : Wake::Timeout;
}

void WaitQueue::wake_one() {
    QueueState& q = state_in<QueueState>(state_);
    std::lock_guard guard(q.lock);
    if (Waiter* w = q.waiters.pop_front()) w->wake();
}

void WaitQueue::wake_all() {
    QueueState& q = state_in<QueueState>(state_);
    std::lock_guard guard(q.lock);
    while (Waiter* w = q.waiters.pop_front())
        w->wake();
}

Event::Event() {
    static_assert(sizeof(EventState) <= kStateBytes);
    new (state_) EventState;
}

Event::~Event() {
    EventState& e = state_in<EventState>(state_);
    { // A signal() that woke us may still be on its way out of the lock.
        std::lock_guard guard(e.lock);
        ASSERT(!e.waiter);
    }
    e.~EventState();
}

void Event::signal() {
    EventState& e = state_in<EventState>(state_);
    std::lock_guard guard(e.lock);
    e.signalled = true;
    if (e.waiter) e.waiter->wake();
    e.waiter = nullptr;
}

bool Event::try_take() {
    EventState& e = state_in<EventState>(state_);
    std::lock_guard guard(e.lock);
    return std::exchange(e.signalled, false);
}

Wake Event::wait(Nanos deadline, Interruptible how) {
    EventState& e = state_in<EventState>(state_);
    Waiter me(HostThread::me());
    {
        std::lock_guard guard(e.lock);
        if (std::exchange(e.signalled, false)) return Wake::Event;
        ASSERT(!e.waiter); // one thread waits
        e.waiter = &me;
    }
    me.sleep(deadline, how);
    std::lock_guard guard(e.lock);
    e.waiter = nullptr;
    if (std::exchange(e.signalled, false)) return Wake::Event;
    return me.thread.is_kicked(how) ? Wake::Kicked : Wake::Timeout;
}

} // namespace tessera::kernel
