// Mutex, WaitQueue and Event for a booted kernel: a spinlock for the state, waiters on their own
// stacks.

#include <new>
#include <utility>

#include "base/assert.hpp"
#include "kernel/sched/internal.hpp"
#include "kernel/sync/event.hpp"
#include "kernel/sync/mutex.hpp"
#include "kernel/sync/wait_queue.hpp"

namespace tessera::kernel {

using sched::KernelThread;
using sched::Waiter;

struct Mutex::State {
    Spinlock lock;
    std::atomic<KernelThread*> holder{nullptr};
    List<Waiter, &Waiter::link> waiters;
};

namespace {
struct QueueState {
    Spinlock lock;
    List<Waiter, &Waiter::link> waiters;
};
struct EventState {
    Spinlock lock;
    bool signalled = false;
    Waiter* waiter = nullptr;
};

template <typename S, size_t N>
S& state_in(unsigned char (&storage)[N]) {
    static_assert(sizeof(S) <= N);
    return *std::launder(reinterpret_cast<S*>(storage));
}

void push_rank(KernelThread& t, LockRank r) {
    ASSERT(t.held_count < KernelThread::kMaxHeld);
    for (unsigned i = 0; i < t.held_count; i++)
        ASSERT(t.held[i] < r); // lock order
    t.held[t.held_count++] = r;
}

void pop_rank(KernelThread& t, LockRank r) {
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
    KernelThread& me = KernelThread::me();
    ASSERT(arch::interrupts_enabled()); // never under a spinlock or in an interrupt
    ASSERT(s.holder.load() != &me);
    push_rank(me, rank_);
    for (;;) {
        Waiter waiter(me);
        {
            SpinGuard guard(s.lock);
            if (!s.holder.load()) {
                s.holder.store(&me);
                return;
            }
            s.waiters.push_back(waiter);
        }
        waiter.sleep(kNever, Interruptible::No);
        SpinGuard guard(s.lock); // unlock() has let go of the waiter
    }
}

void Mutex::unlock() {
    State& s = *std::launder(reinterpret_cast<State*>(state_));
    KernelThread& me = KernelThread::me();
    ASSERT(s.holder.load() == &me);
    pop_rank(me, rank_);
    SpinGuard guard(s.lock);
    s.holder.store(nullptr);
    if (Waiter* w = s.waiters.pop_front()) w->wake();
}

bool Mutex::held_by_me() const {
    return std::launder(reinterpret_cast<const State*>(state_))->holder.load() ==
           &KernelThread::me();
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
    Waiter me(KernelThread::me());
    {
        SpinGuard guard(q.lock);
        q.waiters.push_back(me);
    }
    m.unlock();
    me.sleep(deadline, how);
    bool woken;
    {
        SpinGuard guard(q.lock);
        woken = !me.link.linked(); // the waker took us off
        if (!woken) q.waiters.remove(me);
    }
    m.lock();
    if (woken) return Wake::Event;
    return me.thread.is_kicked(how) ? Wake::Kicked : Wake::Timeout;
}

void WaitQueue::wake_one() {
    QueueState& q = state_in<QueueState>(state_);
    SpinGuard guard(q.lock);
    if (Waiter* w = q.waiters.pop_front()) w->wake();
}

void WaitQueue::wake_all() {
    QueueState& q = state_in<QueueState>(state_);
    SpinGuard guard(q.lock);
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
        SpinGuard guard(e.lock);
        ASSERT(!e.waiter);
    }
    e.~EventState();
}

void Event::signal() {
    EventState& e = state_in<EventState>(state_);
    SpinGuard guard(e.lock);
    e.signalled = true;
    if (Waiter* w = std::exchange(e.waiter, nullptr)) w->wake();
}

bool Event::try_take() {
    EventState& e = state_in<EventState>(state_);
    SpinGuard guard(e.lock);
    return std::exchange(e.signalled, false);
}

Wake Event::wait(Nanos deadline, Interruptible how) {
    EventState& e = state_in<EventState>(state_);
    Waiter me(KernelThread::me());
    {
        SpinGuard guard(e.lock);
        if (std::exchange(e.signalled, false)) return Wake::Event;
        ASSERT(!e.waiter); // one thread waits
        e.waiter = &me;
    }
    me.sleep(deadline, how);
    SpinGuard guard(e.lock);
    e.waiter = nullptr;
    if (std::exchange(e.signalled, false)) return Wake::Event;
    return me.thread.is_kicked(how) ? Wake::Kicked : Wake::Timeout;
}

} // namespace tessera::kernel
