// What the two implementations of threads, mutexes, wait queues and events share: kernel/sched
// (boots) and kernel/arch/host (pthreads). Private to them and to this folder's .cpp files, which
// are compiled for both.
//
// An implementation supplies its own record derived from ThreadRecord, Waiter::wake() and sleep(),
// StateLock, Mutex, and how a Thread starts, ends and is kicked.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#include "base/list.hpp"
#include "base/units.hpp"
#include "kernel/sync/mutex.hpp"
#include "kernel/sync/thread.hpp"
#include "kernel/sync/wait_queue.hpp"

namespace tessera::kernel {

// The ranks of the locks that a thread holds, for the order check. The thread's own.
class HeldRanks {
  public:
    void push(LockRank r); // asserts that it is above all held
    void pop(LockRank r);  // asserts that it is held

  private:
    static constexpr unsigned kMost = 16;
    LockRank held_[kMost];
    unsigned count_ = 0;
};

struct ThreadRecord : Thread {
    static ThreadRecord& me() { return static_cast<ThreadRecord&>(current()); }
    bool is_kicked(Interruptible how) const;

    char label[16] = {};
    void* owner_slot = nullptr;
    std::atomic<uint8_t> kicks{0};
    HeldRanks held_ranks;
};

// One wait of one thread, on its stack. Whoever waits links it into a list with a lock of its own,
// sleeps, takes itself off under that lock and only then asks whether it was woken. wake() is
// called under that lock, so the waiter's thread cannot be gone.
struct Waiter {
    explicit Waiter(ThreadRecord& t) : thread(t) {}
    ThreadRecord& thread;
    std::atomic<bool> woken{false};
    ListLink link;

    void wake(); // any context
    // Until woken, kicked or late.
    void sleep(Nanos deadline, Interruptible how);
};

// Guards the state of a wait queue or an event for a few instructions: a spinlock in the kernel
// (interrupts take it too), a mutex on a host.
class StateLock {
  public:
    StateLock();
    ~StateLock();
    StateLock(const StateLock&) = delete;
    StateLock& operator=(const StateLock&) = delete;

    [[nodiscard]] uint64_t lock();
    void unlock(uint64_t saved); // what lock() returned

  private:
    static constexpr unsigned kStateBytes = 48;
    alignas(16) unsigned char state_[kStateBytes];
};

class StateGuard {
  public:
    explicit StateGuard(StateLock& l) : lock_(l), saved_(l.lock()) {}
    ~StateGuard() { lock_.unlock(saved_); }
    StateGuard(const StateGuard&) = delete;
    StateGuard& operator=(const StateGuard&) = delete;

  private:
    StateLock& lock_;
    uint64_t saved_;
};

// The S that a constructor put into an object's opaque storage.
template <typename S, size_t N>
S& state_in(unsigned char (&storage)[N]) {
    static_assert(sizeof(S) <= N);
    return *std::launder(reinterpret_cast<S*>(storage));
}
template <typename S, size_t N>
const S& state_in(const unsigned char (&storage)[N]) {
    static_assert(sizeof(S) <= N);
    return *std::launder(reinterpret_cast<const S*>(storage));
}

} // namespace tessera::kernel
