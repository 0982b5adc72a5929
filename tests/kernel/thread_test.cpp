#include <vector>

#include "base/log.hpp"
#include "boot/boot_info.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/sched/scheduler.hpp"
#include "kernel/sync/event.hpp"
#include "kernel/sync/mutex.hpp"
#include "kernel/sync/thread.hpp"
#include "kernel/sync/wait_queue.hpp"
#include "tests/kernel/ktest.hpp"

namespace tessera::kernel {
namespace {

KTEST(EveryProcessorRuns) {
    std::string_view line = boot::boot_info().command_line.view();
    std::string_view expected = boot::command_line_option(line, "expect");
    EXPECT(expected.size() == 1 && arch::cpu_count() == static_cast<unsigned>(expected[0] - '0'));
}

KTEST(ClockAdvances) {
    Nanos a = Thread::now();
    Thread::sleep_until(a + milliseconds(10));
    Nanos slept = Thread::now() - a;
    EXPECT(slept >= milliseconds(10) && slept < milliseconds(1000));
    LOG(Info, "test", "tsc %lu kHz; slept %ld us for 10000", arch::tsc_khz(), slept.value / 1000);
}

KTEST(MutexExcludes) {
    Locked<int, LockRank::Leaf> counter(0);
    std::vector<Thread*> threads;
    for (int i = 0; i < 8; i++) {
        threads.push_back(*Thread::start("adder", [&] {
            for (int k = 0; k < 2000; k++) {
                counter.with([](int& n) {
                    int before = n;
                    if (before % 64 == 0) Thread::yield();
                    n = before + 1;
                });
            }
        }));
    }
    for (Thread* t : threads)
        t->join();
    EXPECT(counter.with([](int& n) { return n; }) == 16000);
}

KTEST(SpinningThreadsShareTheProcessors) {
    std::atomic<unsigned> counts[5] = {};
    std::atomic<bool> stop{false};
    std::vector<Thread*> threads;
    for (auto& c : counts) {
        threads.push_back(*Thread::start("spinner", [&c, &stop] {
            while (!stop.load())
                c.fetch_add(1);
        }));
    }
    Thread::sleep_until(Thread::now() + milliseconds(200));
    stop.store(true);
    for (Thread* t : threads)
        t->join();
    for (auto& c : counts)
        EXPECT(c.load() > 0);
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

KTEST(WaitQueueWakesAndTimesOut) {
    Gate gate;
    std::vector<Thread*> threads;
    for (int i = 0; i < 6; i++) {
        threads.push_back(*Thread::start(
            "waiter", [&] { EXPECT(gate.pass(kNever, Interruptible::Yes) == Wake::Event); }));
    }
    gate.await(6);
    {
        MutexGuard guard(gate.m);
        gate.open = true;
    }
    gate.q.wake_all();
    for (Thread* t : threads)
        t->join();
    Gate shut;
    Nanos start = Thread::now();
    EXPECT(shut.pass(start + milliseconds(5), Interruptible::No) == Wake::Timeout);
    EXPECT(Thread::now() - start >= milliseconds(5));
}

KTEST(KickEndsWaits) {
    Gate gate;
    Thread* t = *Thread::start("sleeper", [&] {
        EXPECT(gate.pass(kNever, Interruptible::Yes) == Wake::Kicked);
        EXPECT(gate.pass(kNever, Interruptible::Yes) == Wake::Kicked);
        EXPECT(gate.pass(Thread::now() + milliseconds(3), Interruptible::KillOnly) ==
               Wake::Timeout);
        Thread::current().clear_kick();
        EXPECT(gate.pass(Thread::now() + milliseconds(3), Interruptible::Yes) == Wake::Timeout);
        EXPECT(gate.pass(kNever, Interruptible::KillOnly) == Wake::Kicked);
        Thread::current().clear_kick();
        EXPECT(Thread::current().killed());
    });
    gate.await(1);
    t->kick(KickKind::Signal);
    gate.await(5);
    t->kick(KickKind::Kill);
    t->join();
}

KTEST(EventsPingPong) {
    Event ping, pong;
    constexpr int kRounds = 2000;
    Thread* t = *Thread::start("echo", [&] {
        for (int i = 0; i < kRounds; i++) {
            EXPECT(ping.wait() == Wake::Event);
            pong.signal();
        }
    });
    Nanos start = Thread::now();
    for (int i = 0; i < kRounds; i++) {
        ping.signal();
        EXPECT(pong.wait() == Wake::Event);
    }
    Nanos took = Thread::now() - start;
    t->join();
    LOG(Info, "test", "event round trip %ld ns", took.value / kRounds);
    EXPECT(pong.wait(Thread::now() + milliseconds(1)) == Wake::Timeout);
}

KTEST(ThreadsGiveTheirMemoryBack) {
    size_t before = 0;
    for (int round = 0; round < 20; round++) {
        if (round == 5) before = frame_stats().free; // stacks are kept for the next threads
        std::vector<Thread*> threads;
        for (int i = 0; i < 25; i++) {
            threads.push_back(*Thread::start("short", [] { Thread::yield(); }));
        }
        for (Thread* t : threads)
            t->join();
    }
    for (int i = 0; i < 20; i++)
        (*Thread::start("detached", [] {}))->detach();
    Nanos limit = Thread::now() + seconds(5);
    while (frame_stats().free + 8 < before && Thread::now() < limit) {
        Thread::sleep_until(Thread::now() + milliseconds(5));
    }
    EXPECT(frame_stats().free + 8 >= before);
}

std::atomic<unsigned> interrupts{0};
Event from_interrupt;

KTEST(InterruptSignalsAnEvent) {
    arch::IrqVector v = *arch::allocate_irq([] {
        interrupts.fetch_add(1);
        from_interrupt.signal();
    });
    EXPECT(v.msi_address >> 20 == 0xfee && v.msi_data == v.vector);
    arch::send_ipi(0, v.vector);
    EXPECT(from_interrupt.wait(Thread::now() + seconds(2)) == Wake::Event);
    EXPECT(interrupts.load() == 1);
}

std::atomic<unsigned> polls{0};
std::atomic<int64_t> asked_for{INT64_MAX};

KTEST(IdlePollRunsAndKeepsItsTime) {
    set_idle_poll([] {
        polls.fetch_add(1);
        return Nanos{asked_for.exchange(INT64_MAX)};
    });
    Thread::sleep_until(Thread::now() + milliseconds(5));
    unsigned before = polls.load();
    EXPECT(before > 0);
    request_poll();
    Thread::sleep_until(Thread::now() + milliseconds(5));
    EXPECT(polls.load() > before);
    // A deadline is kept while all processors are busy in kernel threads.
    std::atomic<bool> stop{false};
    std::vector<Thread*> threads;
    for (int i = 0; i < 3; i++) {
        threads.push_back(*Thread::start("spinner", [&] {
            while (!stop.load())
                arch::pause();
        }));
    }
    asked_for.store((Thread::now() + milliseconds(20)).value);
    before = polls.load();
    request_poll();
    Nanos limit = Thread::now() + seconds(5);
    while (polls.load() < before + 2 && Thread::now() < limit) {
        Thread::sleep_until(Thread::now() + milliseconds(5));
    }
    EXPECT(polls.load() >= before + 2);
    stop.store(true);
    for (Thread* t : threads)
        t->join();
    set_idle_poll(nullptr);
}

} // namespace
} // namespace tessera::kernel
