// How a thread has something done in the shard and waits for it.
#pragma once

#include <optional>

#include "base/units.hpp"
#include "kernel/sync/event.hpp"
#include "kernel/sync/thread.hpp"
#include "monitors/env/shard.hpp"

namespace tessera::pmon {

inline constexpr Nanos kPageDeadline = seconds(30); // longest wait for a page (protocols.md 5)

// Posts what must not be lost: a full inbox empties by itself, so this waits for room.
template <typename F>
void post_until_taken(env::Shard& shard, F&& make_job) {
    while (!shard.post(make_job()))
        kernel::Thread::sleep_until(kernel::Thread::now() + microseconds(100));
}

// Runs f in the shard and returns its result. f must not block; the wait is bounded by shard steps.
template <typename F>
auto in_shard(env::Shard& shard, F&& f) -> decltype(f()) {
    struct Frame {
        std::optional<decltype(f())> result;
        kernel::Event done;
    } frame;
    post_until_taken(shard, [&] {
        return env::Shard::Job([&frame, &f] {
            frame.result.emplace(f());
            frame.done.signal();
        });
    });
    while (frame.done.wait(kNever, kernel::Interruptible::No) != kernel::Wake::Event) {
    }
    return std::move(*frame.result);
}

// The same for what may answer Again (no room towards the owner now): asks until it does not. If
// killable: Interrupted once the thread is killed, Timeout after the page deadline.
template <typename F>
auto in_shard_retrying(env::Shard& shard, bool killable, F&& f) -> decltype(f()) {
    Nanos deadline = kernel::Thread::now() + kPageDeadline;
    for (;;) {
        auto r = in_shard(shard, f);
        if (r || r.error() != Error::Again) return r;
        if (killable && kernel::Thread::current().killed()) return Fail(Error::Interrupted);
        if (killable && kernel::Thread::now() >= deadline) return Fail(Error::Timeout);
        shard.help();
        kernel::Thread::sleep_until(kernel::Thread::now() + milliseconds(1));
    }
}

} // namespace tessera::pmon
