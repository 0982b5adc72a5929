// The tickless per-CPU scheduler behind kernel/sync/thread.hpp.
//
// Every CPU has a run queue (round robin) and an idle thread. The timer is programmed for the next
// sleeper's deadline, and for a time slice only while a CPU has more than one runnable thread. A
// CPU with nothing to do takes a thread from another queue, polls (set_idle_poll), then halts.
#pragma once

#include "base/function.hpp"
#include "base/units.hpp"

namespace tessera::kernel {

// Called by the idle thread of each CPU (interrupts on, may take spinlocks, must not sleep) before
// it halts, and again whenever an interrupt handler ran since the last call. Also called on the way
// back to user mode after a device interrupt, and by a per-CPU poll thread when a kernel thread was
// interrupted; so it may run on several CPUs at once and must serialise itself (shards do). Returns
// when it wants to be called next at the latest: kNever, or a time of Thread::now(); a time that
// has passed means: again, at once, without halting (keep that bounded).
using PollHook = Nanos (*)();
void set_idle_poll(PollHook hook);
// From any context: makes CPU 0 call the hook soon, ending its halt.
void request_poll();

// Where a CPU spent its time.
struct CpuTimes {
    Nanos idle;  // in HLT
    Nanos total; // since boot
    uint64_t switches = 0;
};
CpuTimes cpu_times(unsigned cpu);

} // namespace tessera::kernel
