// The scheduler as kernel/arch, kernel/mm and kernel/sync's boot implementation see it.
#pragma once

#include <atomic>

#include "base/function.hpp"
#include "base/list.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "kernel/sync/spinlock.hpp"
#include "kernel/sync/thread_record.hpp"

namespace tessera::kernel::sched {

enum class State : uint8_t { Running, Ready, Blocked, Ended };

struct KernelThread final : ThreadRecord {
    static KernelThread& me();

    uint64_t rsp = 0; // while not running
    uint64_t stack_top = 0;
    uint64_t root = 0; // the user table it wants; 0: any
    unsigned cpu = 0;  // where it runs, or last ran
    bool idle = false;
    bool urgent = false;             // goes to the front of the queue: the poll threads
    std::atomic<bool> on_cpu{false}; // its stack is in use

    Function<void(), 64> body;

    Spinlock lock; // guards state, token, how
    State state = State::Ready;
    bool token = false; // an unpark that came before its park
    Interruptible how = Interruptible::No;

    ListLink run_link;   // guarded by the run queue's lock
    ListLink timer_link; // guarded by the lock of timer_cpu's sleepers
    Nanos wake_at;
    unsigned timer_cpu = 0;

    Spinlock life; // guards the three below
    bool ended = false;
    bool detached = false;
    Waiter* joiner = nullptr;
};

// Turns the boot context into the first thread and the first CPU into a scheduled one.
void start();
// The record of another CPU, before it starts on `stack_top`. False: no memory.
bool prepare_cpu(unsigned cpu, uint64_t stack_top);
// That CPU's idle loop.
[[noreturn]] void run_cpu();

// Interrupt handlers, interrupts off.
void on_timer();
void on_wake_up();
// At the end of an interrupt in ring 0, interrupts off: changes threads if that is due.
void preempt_point();
// In run_user, interrupts off: changes threads and polls if that is due. True: something was done,
// check again.
bool before_user();

// Gives the CPU away; the caller has set its thread's state. Interrupts off.
void schedule();
// Sleeps until unpark, a kick that `how` lets through, or the deadline; may return early for no
// reason.
void park(Nanos deadline, Interruptible how);
void unpark(KernelThread& t);

// The user page table of the running thread.
uint64_t thread_root();
void set_thread_root(uint64_t root);

} // namespace tessera::kernel::sched
