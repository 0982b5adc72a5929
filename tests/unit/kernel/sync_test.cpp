// The hosted threads, mutexes, wait queues and events. The same cases run in the kernel
// (tests/kernel).
#include <gtest/gtest.h>

#include "kernel/sync/event.hpp"
#include "kernel/sync/mutex.hpp"
#include "kernel/sync/thread.hpp"
#include "kernel/sync/wait_queue.hpp"

namespace tessera::kernel {
namespace {

TEST(Mutex, ExcludesEightThreads) {
    Locked<int, LockRank::Leaf> counter(0);
    std::vector<Thread*> threads;
    for (int i = 0; i < 8; i++) {
        threads.push_back(*Thread::start("adder", [&] {
            for (int k = 0; k < 1000; k++)
                counter.with([](int& n) { n++; });
        }));
    }
    for (Thread* t : threads)
        t->join();
    EXPECT_EQ(counter.with([](int& n) { return n; }), 8000);
}

TEST(MutexDeathTest, RefusesFallingRank) {
    Mutex outer(LockRank::Vnode), inner(LockRank::Pipe);
    MutexGuard a(inner);
    EXPECT_DEATH(MutexGuard b(outer), "assertion failed");
}

struct Gate {
    Mutex m{LockRank::Leaf};
    WaitQueue q;
    bool open = false;
    int waiting = 0;

    Wake pass(Nanos deadline, Interruptible how) {
        MutexGuard guard(m);
        waiting++;
        while (!open) {
            Wake w = q.wait(m, deadline, how);
            if (w != Wake::Event) return w;
        }
        return Wake::Event;
    }
    void await(int n) {
        for (;;) {
            {
                MutexGuard guard(m);
                if (waiting == n) return;
            }
            Thread::yield();
        }
    }
};

TEST(WaitQueue, WakesAll) {
    Gate gate;
    std::vector<Thread*> threads;
    for (int i = 0; i < 4; i++) {
        threads.push_back(*Thread::start(
            "waiter", [&] { EXPECT_EQ(gate.pass(kNever, Interruptible::Yes), Wake::Event); }));
    }
    gate.await(4);
    {
        MutexGuard guard(gate.m);
        gate.open = true;
    }
    gate.q.wake_all();
    for (Thread* t : threads)
        t->join();
}

TEST(WaitQueue, TimesOut) {
    Gate gate;
    Nanos start = Thread::now();
    EXPECT_EQ(gate.pass(start + milliseconds(20), Interruptible::No), Wake::Timeout);
    EXPECT_GE(Thread::now() - start, milliseconds(20));
}

TEST(WaitQueue, EndsByKickNowAndUntilCleared) {
    Gate gate;
    Thread* t = *Thread::start("sleeper", [&] {
        EXPECT_EQ(gate.pass(kNever, Interruptible::Yes), Wake::Kicked);
        EXPECT_EQ(gate.pass(kNever, Interruptible::Yes), Wake::Kicked); // still pending
        EXPECT_EQ(gate.pass(Thread::now() + milliseconds(5), Interruptible::KillOnly),
                  Wake::Timeout);
        EXPECT_TRUE(Thread::current().kicked());
        Thread::current().clear_kick();
        EXPECT_EQ(gate.pass(Thread::now() + milliseconds(5), Interruptible::Yes), Wake::Timeout);
        EXPECT_EQ(gate.pass(kNever, Interruptible::KillOnly), Wake::Kicked);
        Thread::current().clear_kick();
        EXPECT_TRUE(Thread::current().killed()); // a kill stays
    });
    gate.await(1);
    t->kick(KickKind::Signal);
    gate.await(5);
    t->kick(KickKind::Kill);
    t->join();
}

TEST(Event, IsNotLostAndNotDoubled) {
    Event e;
    e.signal();
    e.signal();
    EXPECT_EQ(e.wait(kNever), Wake::Event);
    EXPECT_EQ(e.wait(Thread::now() + milliseconds(2)), Wake::Timeout);
    EXPECT_FALSE(e.try_take());

    Event ping, pong;
    Thread* t = *Thread::start("echo", [&] {
        for (int i = 0; i < 500; i++) {
            EXPECT_EQ(ping.wait(), Wake::Event);
            pong.signal();
        }
    });
    for (int i = 0; i < 500; i++) {
        ping.signal();
        EXPECT_EQ(pong.wait(), Wake::Event);
    }
    t->join();
}

TEST(Thread, FreesItselfWhenDetached) {
    Event done;
    Thread* t = *Thread::start("a-name-that-is-too-long", [&] {
        EXPECT_STREQ(Thread::current().name(), "a-name-that-is-");
        int slot = 0;
        Thread::current().set_owner(&slot);
        EXPECT_EQ(Thread::current().owner(), &slot);
        done.signal();
    });
    t->detach();
    EXPECT_EQ(done.wait(), Wake::Event);
}

} // namespace
} // namespace tessera::kernel
