// Mutex: a sleeping lock for thread context. Never taken in an interrupt, in a shard step, or
// across a fetch of remote memory while it guards an address space (protocols.md section 8).
//
// Two implementations share this header: kernel/sched (boots) and kernel/arch/host (pthreads, for
// hosted tests and TSan). Locked<T, Rank> ties the data to its lock; ranks are checked in debug
// builds: a thread takes locks in strictly rising rank.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace tessera::kernel {

// The one table of lock ranks, outermost first.
enum class LockRank : uint8_t {
    VnodeTable = 10,
    Vnode = 20,
    Process = 30,
    ProcessGroup = 34,
    Terminal = 38,
    DescriptorTable = 40,
    Futex = 44,
    AddressSpace = 50,
    FileDescription = 60,
    ObjectTable = 70,
    Pipe = 80,
    Leaf = 200, // takes no other lock while held
};

class Mutex {
  public:
    explicit Mutex(LockRank rank);
    ~Mutex();
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    void lock();
    void unlock();
    bool held_by_me() const; // for assertions

  private:
    friend class WaitQueue;
    struct State; // supplied by the implementation, at most kStateBytes
    static constexpr unsigned kStateBytes = 96;
    alignas(16) unsigned char state_[kStateBytes];
    LockRank rank_;
};

class MutexGuard {
  public:
    explicit MutexGuard(Mutex& m) : m_(m) { m_.lock(); }
    ~MutexGuard() { m_.unlock(); }
    MutexGuard(const MutexGuard&) = delete;
    MutexGuard& operator=(const MutexGuard&) = delete;

  private:
    Mutex& m_;
};

template <typename T, LockRank Rank>
class Locked {
  public:
    template <typename... Args>
    explicit Locked(Args&&... args) : data_(std::forward<Args>(args)...) {}

    // Calls f(data) with the lock held and returns what it returns.
    template <typename F>
    decltype(auto) with(F&& f) {
        MutexGuard guard(mutex_);
        return std::forward<F>(f)(data_);
    }

  private:
    Mutex mutex_{Rank};
    T data_;
};

} // namespace tessera::kernel
