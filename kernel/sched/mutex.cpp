// Mutex and StateLock for a booted kernel: a spinlock for the state, waiters on their own stacks.

#include "kernel/sync/mutex.hpp"

#include "base/assert.hpp"
#include "kernel/sched/internal.hpp"
#include "kernel/sync/spinlock.hpp"

namespace tessera::kernel {

using sched::KernelThread;

struct Mutex::State {
    Spinlock lock;
    std::atomic<KernelThread*> holder{nullptr};
    List<Waiter, &Waiter::link> waiters;
};

Mutex::Mutex(LockRank rank) : rank_(rank) {
    static_assert(sizeof(State) <= kStateBytes);
    new (state_) State;
}

Mutex::~Mutex() {
    State& s = state_in<State>(state_);
    ASSERT(!s.holder.load());
    s.~State();
}

void Mutex::lock() {
    State& s = state_in<State>(state_);
    KernelThread& me = KernelThread::me();
    ASSERT(arch::interrupts_enabled()); // never under a spinlock or in an interrupt
    ASSERT(s.holder.load() != &me);
    me.held_ranks.push(rank_);
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
    State& s = state_in<State>(state_);
    KernelThread& me = KernelThread::me();
    ASSERT(s.holder.load() == &me);
    me.held_ranks.pop(rank_);
    SpinGuard guard(s.lock);
    s.holder.store(nullptr);
    if (Waiter* w = s.waiters.pop_front()) w->wake();
}

bool Mutex::held_by_me() const {
    return state_in<State>(state_).holder.load() == &KernelThread::me();
}

StateLock::StateLock() {
    new (state_) Spinlock;
}

StateLock::~StateLock() {
    state_in<Spinlock>(state_).~Spinlock();
}

uint64_t StateLock::lock() {
    return state_in<Spinlock>(state_).lock();
}

void StateLock::unlock(uint64_t saved) {
    state_in<Spinlock>(state_).unlock(saved);
}

} // namespace tessera::kernel
