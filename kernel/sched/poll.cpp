// Who calls the poll hook when: see scheduler.hpp.

#include <algorithm>

#include "base/assert.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/sched/queue.hpp"
#include "kernel/sched/scheduler.hpp"

namespace tessera::kernel {
namespace sched {
namespace {

std::atomic<PollHook> poll_hook{nullptr};
std::atomic<int64_t> poll_at{INT64_MAX}; // when the hook wants CPU 0 again
std::atomic<bool> poll_requested{false};

void poll_thread(unsigned cpu) {
    Event& work = *queues[cpu].poll_event;
    KernelThread::me().urgent = true;
    for (;;) {
        work.wait();
        arch::cpus[cpu].irq_marked.store(false);
        run_poll_hook();
    }
}

// One per CPU: polls when an interrupt found a kernel thread running.
void start_poll_threads() {
    for (unsigned i = 0; i < arch::cpu_count(); i++) {
        if (queues[i].poll_event) continue;
        queues[i].poll_event = new Event;
        Result<Thread*> t = Thread::start("poll", [i] { poll_thread(i); });
        ASSERT(t);
        (*t)->detach();
    }
}

} // namespace

bool poll_hook_set() {
    return poll_hook.load(std::memory_order_relaxed) != nullptr;
}

bool poll_due() {
    return poll_at.load() <= arch::now().value;
}

void run_poll_hook() {
    PollHook hook = poll_hook.load();
    if (!hook) return;
    Nanos next = hook();
    poll_at.store(next.value);
    uint64_t saved = arch::irq_save();
    if (arch::cpu_id() == 0) {
        program(queues[0], next);
    } else if (next != kNever) {
        arch::send_ipi(0, arch::kVectorWakeUp); // CPU 0 keeps the time
    }
    arch::irq_restore(saved);
}

void hand_to_poller(CpuQueue& q) {
    if (running()->idle || !poll_hook.load(std::memory_order_relaxed))
        return; // the idle loop looks itself
    if (q.poll_event) q.poll_event->signal();
    arch::this_cpu().reschedule.store(true);
}

Nanos poll_on_timer(Nanos now) {
    if (arch::cpu_id() != 0) return kNever;
    Nanos poll{poll_at.load()};
    if (poll > now) return poll;
    poll_at.store(INT64_MAX);
    arch::this_cpu().irq_marked.store(true);
    return kNever;
}

void poll_on_wake_up(CpuQueue& q) {
    if (arch::cpu_id() != 0) return;
    Nanos poll{poll_at.load()};
    if (poll_requested.exchange(false) || poll <= arch::now()) {
        arch::this_cpu().irq_marked.store(true);
    } else {
        program(q, poll);
    }
}

} // namespace sched

void set_idle_poll(PollHook hook) {
    sched::start_poll_threads();
    sched::poll_hook.store(hook);
    request_poll();
}

void request_poll() {
    sched::poll_requested.store(true);
    arch::send_ipi(0, arch::kVectorWakeUp); // CPU 0 itself too: it may be in the middle of anything
}

} // namespace tessera::kernel
