// Mutex and StateLock over the C++ library's, with lock ranks always checked.

#include "kernel/sync/mutex.hpp"

#include <mutex>

#include "base/assert.hpp"
#include "kernel/arch/host/host_thread.hpp"

namespace tessera::kernel {

struct Mutex::State {
    std::mutex lock;
    std::atomic<ThreadRecord*> holder{nullptr};
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
    ThreadRecord& me = ThreadRecord::me();
    ASSERT(s.holder.load() != &me);
    me.held_ranks.push(rank_);
    s.lock.lock();
    s.holder.store(&me);
}

void Mutex::unlock() {
    State& s = state_in<State>(state_);
    ThreadRecord& me = ThreadRecord::me();
    ASSERT(s.holder.load() == &me);
    me.held_ranks.pop(rank_);
    s.holder.store(nullptr);
    s.lock.unlock();
}

bool Mutex::held_by_me() const {
    return state_in<State>(state_).holder.load() == &ThreadRecord::me();
}

StateLock::StateLock() {
    new (state_) std::mutex;
}

StateLock::~StateLock() {
    state_in<std::mutex>(state_).~mutex();
}

uint64_t StateLock::lock() {
    state_in<std::mutex>(state_).lock();
    return 0;
}

void StateLock::unlock(uint64_t) {
    state_in<std::mutex>(state_).unlock();
}

} // namespace tessera::kernel
