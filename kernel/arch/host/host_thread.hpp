// The hosted thread behind kernel/sync/thread.hpp: a std::thread that can be parked and kicked.
// Private to kernel/arch/host. Every thread of the program gets one on first use (the test's main
// thread too).
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "base/list.hpp"
#include "kernel/sync/mutex.hpp"
#include "kernel/sync/thread.hpp"
#include "kernel/sync/wait_queue.hpp"

namespace tessera::kernel::host {

class HostThread final : public Thread {
  public:
    static HostThread& me();

    char label[16] = {};
    void* owner = nullptr;
    std::atomic<uint8_t> kicks{0};

    // Parking: a waiter sleeps on its own thread's condition variable.
    std::mutex park;
    std::condition_variable unpark;

    // Life: freed by whoever comes second, its end or join/detach.
    std::mutex life;
    std::condition_variable ended_changed;
    bool ended = false;
    bool detached = false;

    // Lock ranks held, for the order check.
    static constexpr unsigned kMaxHeld = 16;
    LockRank held[kMaxHeld];
    unsigned held_count = 0;

    bool is_kicked(Interruptible how) const;
};

// One wait of one thread. `woken` is guarded by thread.park; list membership by the queue's own
// lock.
struct Waiter {
    explicit Waiter(HostThread& t) : thread(t) {}
    HostThread& thread;
    bool woken = false;
    ListLink link;

    void wake();
    // Sleeps until woken, kicked or late. The answer is final only after the caller has taken
    // itself off its queue and looked at woken again.
    void sleep(Nanos deadline, Interruptible how);
};

} // namespace tessera::kernel::host
