// What one CPU's scheduling consists of, and what the files of kernel/sched share. Private to
// them.
//
// Lock order: a thread's lock, then a queue's; sleepers before both.
#pragma once

#include <array>
#include <atomic>

#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/sched/internal.hpp"
#include "kernel/sync/event.hpp"

namespace tessera::kernel::sched {

struct CpuQueue {
    Spinlock lock; // guards ready
    List<KernelThread, &KernelThread::run_link> ready;
    std::atomic<unsigned> ready_count{0};

    Spinlock timer_lock; // guards sleepers, in order of wake_at
    List<KernelThread, &KernelThread::timer_link> sleepers;

    // This CPU's own, interrupts off.
    KernelThread* idle_thread = nullptr;
    KernelThread* previous = nullptr; // whom we switched from
    Nanos programmed = kNever;        // what the timer is set to
    Nanos slice_end = kNever;
    Nanos spread_at = kNever;
    Nanos switched_at{0};
    uint64_t switches = 0;
    std::atomic<int64_t> idle_nanos{0};
    std::atomic<bool> halted{false};
    Event* poll_event = nullptr; // of its poll thread
};

extern std::array<CpuQueue, arch::kMaxCpus> queues;

inline KernelThread* running() {
    return static_cast<KernelThread*>(arch::current_thread());
}
inline CpuQueue& here() {
    return queues[arch::cpu_id()];
}

// Sets the timer if `deadline` is earlier than what it is set to. Interrupts off.
inline void program(CpuQueue& q, Nanos deadline) {
    if (deadline >= q.programmed) return;
    q.programmed = deadline;
    arch::set_timer(deadline);
}

// Puts a thread that can run into a queue (scheduler.cpp).
void make_ready(KernelThread& t);
// After a switch, on the new thread's stack: the old one's is no longer in use (scheduler.cpp).
void finish_switch();

// A thread that will run `body` once make_ready() is called for it (create.cpp). NoMemory.
Result<KernelThread*> make_thread(const char* name, Function<void(), 64> body);
void name_thread(KernelThread& t, const char* name);

// The poll hook (poll.cpp). CPU 0 keeps its time.
bool poll_hook_set();
void run_poll_hook(); // interrupts on
bool poll_due();
// Marks work for the poll hook after a device interrupt or a poll deadline found a kernel thread
// running.
void hand_to_poller(CpuQueue& q);
Nanos poll_on_timer(Nanos now); // returns when the hook wants the timer again
void poll_on_wake_up(CpuQueue& q);

} // namespace tessera::kernel::sched
