// The hosted thread behind kernel/sync/thread.hpp: a std::thread that can be parked and kicked.
// Private to kernel/arch/host. Every thread of the program gets one on first use (the test's main
// thread too).
#pragma once

#include <condition_variable>
#include <mutex>

#include "kernel/sync/thread_record.hpp"

namespace tessera::kernel::host {

struct HostThread final : ThreadRecord {
    // Parking: a waiter sleeps on its own thread's condition variable.
    std::mutex park;
    std::condition_variable unpark;

    // Life: freed by whoever comes second, its end or join/detach.
    std::mutex life;
    std::condition_variable ended_changed;
    bool ended = false;
    bool detached = false;
};

} // namespace tessera::kernel::host
