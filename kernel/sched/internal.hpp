// The scheduler as kernel/arch, kernel/mm and kernel/sync's boot implementation see it.
#pragma once

#include <atomic>

#include "base/function.hpp"
#include "base/list.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "kernel/sync/mutex.hpp"
#include "kernel/sync/spinlock.hpp"
#include "kernel/sync/thread.hpp"
#include "kernel/sync/wait_queue.hpp"

namespace tessera::kernel::sched {

class KernelThread;

// One wait of one thread, on its stack. Whoever waits links it into a list with a lock of its own,
// sleeps, takes itself off under that lock and then looks at woken. wake() is called under that
// lock, so the waiter's thread cannot be gone.
struct Waiter {
    explicit Waiter(KernelThread& t) : thread(t) {}
    KernelThread& thread;
    std::atomic<bool> woken{false};
    ListLink link;

    void wake(); // any context
    void sleep(Nanos deadline, Interruptible how);
};

enum class State : uint8_t { Running, Ready, Blocked, Ended };

class KernelThread final : public Thread {
  public:
    static KernelThread& me();

    bool is_kicked(Interruptible how) const;

    uint64_t rsp = 0; // while not running
    uint64_t stack_top = 0;
    uint64_t root = 0; // the user table it wants; 0: any
    unsigned cpu = 0;  // where it runs, or last ran
    bool idle = false;
    std::atomic<bool> on_cpu{false}; // its stack is in use

    char label[16] = {};
    void* owner = nullptr;
    std::atomic<uint8_t> kicks{0};
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

    // Lock ranks held, for the order check.
    static constexpr unsigned kMaxHeld = 16;
    LockRank held[kMaxHeld];
    unsigned held_count = 0;
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
