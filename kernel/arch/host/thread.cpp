#include "kernel/sync/thread.hpp"

#include <time.h>

#include <cstring>
#include <thread>

#include "kernel/arch/host/host_thread.hpp"

namespace tessera::kernel {

using host::HostThread;

namespace {
thread_local HostThread* current_thread = nullptr;

HostThread& of(Thread& t) {
    return static_cast<HostThread&>(t);
}

timespec to_timespec(Nanos t) {
    return {t.value / 1'000'000'000, static_cast<long>(t.value % 1'000'000'000)};
}

// Deletes the record of a thread that nobody started (main, gtest's) when that thread ends.
struct Adopted {
    HostThread* thread = nullptr;
    ~Adopted() {
        if (thread) current_thread = nullptr;
        delete thread;
    }
};
thread_local Adopted adopted;
} // namespace

// `woken` changes under the thread's park mutex, so that no wake-up is missed.
void Waiter::wake() {
    HostThread& t = of(thread);
    std::lock_guard guard(t.park);
    woken = true;
    t.unpark.notify_all();
}

void Waiter::sleep(Nanos deadline, Interruptible how) {
    HostThread& t = of(thread);
    std::unique_lock guard(t.park);
    while (!woken && !t.is_kicked(how)) {
        if (deadline == kNever) {
            t.unpark.wait(guard);
            continue;
        }
        Nanos now = Thread::now();
        if (now >= deadline) return;
        std::chrono::steady_clock::time_point until{std::chrono::nanoseconds(deadline.value)};
        t.unpark.wait_until(guard, until);
    }
}

Result<Thread*> Thread::start(const char* name, Function<void(), 64> body) {
    HostThread* t = new HostThread;
    std::strncpy(t->label, name, sizeof t->label - 1);
    std::thread([t, body = std::move(body)]() mutable {
        current_thread = t;
        body();
        body.reset(); // what it captured ends before the thread counts as ended
        current_thread = nullptr;
        bool free_it;
        {
            std::lock_guard guard(t->life);
            t->ended = true;
            free_it = t->detached;
            t->ended_changed.notify_all();
        }
        if (free_it) delete t;
    }).detach();
    return t;
}

Thread& Thread::current() {
    if (!current_thread) {
        current_thread = adopted.thread = new HostThread;
        std::strcpy(current_thread->label, "adopted");
    }
    return *current_thread;
}

Nanos Thread::now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return Nanos{t.tv_sec * 1'000'000'000ll + t.tv_nsec};
}

void Thread::yield() {
    std::this_thread::yield();
}

void Thread::sleep_until(Nanos deadline) {
    timespec t = to_timespec(deadline);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) != 0) {
    }
}

void Thread::join() {
    HostThread& t = of(*this);
    {
        std::unique_lock guard(t.life);
        while (!t.ended)
            t.ended_changed.wait(guard);
    }
    delete &t;
}

void Thread::detach() {
    HostThread& t = of(*this);
    bool free_it;
    {
        std::lock_guard guard(t.life);
        t.detached = true;
        free_it = t.ended;
    }
    if (free_it) delete &t;
}

void Thread::kick(KickKind kind) {
    HostThread& t = of(*this);
    std::lock_guard guard(t.park);
    t.kicks.fetch_or(static_cast<uint8_t>(kind));
    t.unpark.notify_all();
}

} // namespace tessera::kernel
