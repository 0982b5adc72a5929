#include "kernel/sync/thread.hpp"

#include <time.h>

#include <cstring>
#include <thread>

#include "kernel/arch/host/host_thread.hpp"

namespace tessera::kernel {

using host::HostThread;
using host::Waiter;

namespace {
thread_local HostThread* current_thread = nullptr;

HostThread& of(Thread& t) {
    return static_cast<HostThread&>(t);
}
const HostThread& of(const Thread& t) {
    return static_cast<const HostThread&>(t);
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

HostThread& HostThread::me() {
    if (!current_thread) {
        current_thread = adopted.thread = new HostThread;
        std::strcpy(current_thread->label, "adopted");
    }
    return *current_thread;
}

bool HostThread::is_kicked(Interruptible how) const {
    uint8_t k = kicks.load();
    if (how == Interruptible::Yes) return k != 0;
    if (how == Interruptible::KillOnly) return k & static_cast<uint8_t>(KickKind::Kill);
    return false;
}

void Waiter::wake() {
    std::lock_guard guard(thread.park);
    woken = true;
    thread.unpark.notify_all();
}

void Waiter::sleep(Nanos deadline, Interruptible how) {
    std::unique_lock guard(thread.park);
    while (!woken && !thread.is_kicked(how)) {
        if (deadline == kNever) {
            thread.unpark.wait(guard);
            continue;
        }
        Nanos now = Thread::now();
        if (now >= deadline) return;
        std::chrono::steady_clock::time_point until{std::chrono::nanoseconds(deadline.value)};
        thread.unpark.wait_until(guard, until);
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
    return HostThread::me();
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

bool Thread::kicked() const {
    return of(*this).kicks.load() != 0;
}

bool Thread::killed() const {
    return of(*this).kicks.load() & static_cast<uint8_t>(KickKind::Kill);
}

// A kill stays: the thread is on its way out.
void Thread::clear_kick() {
    of(*this).kicks.fetch_and(static_cast<uint8_t>(KickKind::Kill));
}

void* Thread::owner() const {
    return of(*this).owner;
}

void Thread::set_owner(void* o) {
    of(*this).owner = o;
}

const char* Thread::name() const {
    return of(*this).label;
}

} // namespace tessera::kernel
