#include "kernel/sched/scheduler.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "base/assert.hpp"
#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/fpu.hpp"
#include "kernel/arch/x86_64/shootdown.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/mm/kernel_map.hpp"
#include "kernel/sched/internal.hpp"
#include "kernel/sched/queue.hpp"
#include "kernel/sync/event.hpp"

extern "C" {
void switch_stacks(uint64_t* save_rsp, uint64_t rsp); // kernel/arch/x86_64/entry.S
extern const char initial_stack_top[];
}

namespace tessera::kernel {
namespace sched {

std::array<CpuQueue, arch::kMaxCpus> queues;

namespace {

constexpr Nanos kSlice = milliseconds(4);
// A thread that wakes takes the CPU from one that has had it for so long; so completions are prompt
// and two threads talking to each other do not change places at every word.
constexpr Nanos kWakeGranularity = microseconds(500);

constexpr Nanos kSpreadDelay = microseconds(100);

bool started = false;

// A time slice runs only while somebody waits for the CPU.
void arm_slice(CpuQueue& q) {
    if (q.slice_end != kNever || q.ready_count.load() == 0) return;
    Nanos now = arch::now();
    q.slice_end = now + kSlice;
    if (arch::cpu_count() > 1) q.spread_at = now + kSpreadDelay;
    program(q, std::min(q.slice_end, q.spread_at));
}

// Somebody has waited for this CPU long enough: tell one that halts, which then takes him.
void spread(CpuQueue& q, Nanos now) {
    if (q.spread_at > now) return;
    q.spread_at = kNever;
    if (q.ready_count.load() == 0) return;
    for (unsigned i = 0; i < arch::cpu_count(); i++) {
        if (!queues[i].halted.load()) continue;
        arch::send_ipi(i, arch::kVectorWakeUp);
        if (q.ready_count.load() > 1) q.spread_at = now + kSpreadDelay;
        return;
    }
}

// A thread that became ready while it was still leaving its CPU stays in that CPU's queue, and only
// that CPU may take it: nobody ever waits for another CPU to be done with a stack.
KernelThread* take_from(CpuQueue& q, bool own) {
    if (q.ready_count.load(std::memory_order_relaxed) == 0) return nullptr;
    SpinGuard guard(q.lock);
    for (KernelThread& t : q.ready) {
        if (!own && t.on_cpu.load(std::memory_order_acquire)) continue;
        q.ready.remove(t);
        q.ready_count.fetch_sub(1, std::memory_order_relaxed);
        return &t;
    }
    return nullptr;
}

KernelThread* next_thread(CpuQueue& mine) {
    if (KernelThread* t = take_from(mine, true)) return t;
    for (unsigned i = 0; i < arch::cpu_count(); i++) {
        if (&queues[i] == &mine) continue;
        if (KernelThread* t = take_from(queues[i], false)) return t;
    }
    return nullptr;
}

bool anything_ready() {
    for (unsigned i = 0; i < arch::cpu_count(); i++) {
        if (queues[i].ready_count.load(std::memory_order_relaxed) > 0) return true;
    }
    return false;
}

void append(CpuQueue& q, KernelThread& t) {
    SpinGuard guard(q.lock);
    t.urgent ? q.ready.push_front(t) : q.ready.push_back(t);
    q.ready_count.fetch_add(1, std::memory_order_relaxed);
}

void add_sleeper(KernelThread& t, Nanos deadline) {
    uint64_t saved = arch::irq_save();
    unsigned cpu = arch::cpu_id();
    CpuQueue& q = queues[cpu];
    {
        SpinGuard guard(q.timer_lock);
        t.timer_cpu = cpu;
        t.wake_at = deadline;
        KernelThread* after = q.sleepers.front();
        while (after && after->wake_at <= deadline)
            after = q.sleepers.next(*after);
        after ? q.sleepers.insert_before(*after, t) : q.sleepers.push_back(t);
    }
    program(q, deadline);
    arch::irq_restore(saved);
}

void remove_sleeper(KernelThread& t) {
    CpuQueue& q = queues[t.timer_cpu];
    SpinGuard guard(q.timer_lock);
    if (t.timer_link.linked()) q.sleepers.remove(t);
}

} // namespace

void finish_switch() {
    CpuQueue& q = here();
    KernelThread* old = std::exchange(q.previous, nullptr);
    if (!old) return;
    if (old->state != State::Ended) {
        old->on_cpu.store(false, std::memory_order_release);
        return;
    }
    free_kernel_stack(old->stack_top);
    uint64_t saved = old->life.lock();
    old->ended = true;
    bool free_it = old->detached;
    if (old->joiner) old->joiner->wake(); // may free it as soon as we let go
    old->life.unlock(saved);
    if (free_it) delete old;
}

// A thread that became ready waits here, on the CPU that woke it, whose caches have what it will
// ask for; a CPU that halts is told only if it is still waiting kSpreadDelay later (waking another
// CPU costs more than most waits, by far so under QEMU on a busy host).
void make_ready(KernelThread& t) {
    uint64_t saved = arch::irq_save();
    unsigned cpu = t.on_cpu.load(std::memory_order_acquire) ? t.cpu : arch::cpu_id();
    CpuQueue& q = queues[cpu];
    append(q, t);
    if (cpu != arch::cpu_id()) {
        arch::send_ipi(cpu, arch::kVectorWakeUp);
    } else if (!running()->idle) {
        arm_slice(q);
        if (arch::now() - q.switched_at > kWakeGranularity) arch::this_cpu().reschedule.store(true);
    }
    arch::irq_restore(saved);
}

KernelThread& KernelThread::me() {
    return *running();
}

void schedule() {
    CpuQueue& q = here();
    KernelThread* me = running();
    arch::this_cpu().reschedule.store(false, std::memory_order_relaxed);
    // Who still wants to run goes to the end of the queue; an idle thread is in no queue.
    if (me->state == State::Running && !me->idle && q.ready_count.load() > 0) {
        me->state = State::Ready;
        append(q, *me);
    }
    KernelThread* next = nullptr;
    if (me->state != State::Running || me->idle) {
        next = next_thread(q);
        if (!next && !me->idle) next = q.idle_thread;
    }
    q.slice_end = kNever;
    if (!next || next == me) {
        me->state = State::Running;
        arm_slice(q);
        return;
    }
    ASSERT(!next->on_cpu.load(std::memory_order_acquire));
    arch::FpuAccess::leave_thread();
    next->state = State::Running;
    next->cpu = arch::cpu_id();
    next->on_cpu.store(true, std::memory_order_relaxed);
    if (next->root) arch::load_root(next->root);
    q.previous = me;
    q.switched_at = arch::now();
    q.switches++;
    arch::this_cpu().thread = next;
    arm_slice(q);
    switch_stacks(&me->rsp, next->rsp);
    finish_switch();
}

void park(Nanos deadline, Interruptible how) {
    KernelThread& me = KernelThread::me();
    ASSERT(arch::interrupts_enabled() && !me.idle);
    if (deadline != kNever) {
        if (deadline <= arch::now()) return;
        add_sleeper(me, deadline);
    }
    uint64_t saved = me.lock.lock();
    if (me.token || me.is_kicked(how)) {
        me.token = false;
        me.lock.unlock(saved);
    } else {
        me.state = State::Blocked;
        me.how = how;
        me.lock.unlock(0); // interrupts stay off
        schedule();
        arch::irq_restore(saved);
    }
    if (deadline != kNever) remove_sleeper(me);
}

void unpark(KernelThread& t) {
    SpinGuard guard(t.lock);
    if (t.state != State::Blocked) {
        t.token = true;
        return;
    }
    t.state = State::Ready;
    make_ready(t);
}

// Sets the timer once for all who wait for it: each setting leaves a guest, which costs far more
// than the rest of this.
void on_timer() {
    CpuQueue& q = here();
    Nanos now = arch::now();
    q.programmed = kNever;
    Nanos next = kNever;
    {
        SpinGuard guard(q.timer_lock);
        while (KernelThread* t = q.sleepers.front()) {
            if (t->wake_at > now) {
                next = t->wake_at;
                break;
            }
            q.sleepers.remove(*t);
            unpark(*t);
        }
    }
    spread(q, now);
    if (q.slice_end <= now) {
        q.slice_end = kNever;
        arch::this_cpu().reschedule.store(true);
    }
    program(q, std::min({next, q.spread_at, q.slice_end, poll_on_timer(now)}));
}

void on_wake_up() {
    CpuQueue& q = here();
    if (!running()->idle) {
        arm_slice(q);
        if (q.ready_count.load() > 0 && arch::now() - q.switched_at > kWakeGranularity)
            arch::this_cpu().reschedule.store(true);
    }
    poll_on_wake_up(q);
}

void preempt_point() {
    KernelThread* me = running();
    if (!started || !me || me->idle) return;
    if (arch::this_cpu().irq_marked.load(std::memory_order_relaxed)) hand_to_poller(here());
    if (me->state == State::Running && arch::this_cpu().reschedule.load(std::memory_order_relaxed))
        schedule();
}

bool before_user() {
    arch::Cpu& cpu = arch::this_cpu();
    if (cpu.irq_marked.load(std::memory_order_relaxed)) {
        cpu.irq_marked.store(false);
        if (poll_hook_set()) {
            arch::irq_enable();
            run_poll_hook();
            arch::irq_disable();
            return true;
        }
    }
    if (!cpu.reschedule.load(std::memory_order_relaxed)) return false;
    schedule();
    return true;
}

void run_cpu() {
    unsigned me = arch::cpu_id();
    CpuQueue& q = queues[me];
    arch::Cpu& cpu = arch::cpus[me];
    for (;;) {
        arch::irq_enable();
        if (me == 0 || cpu.irq_marked.load()) {
            cpu.irq_marked.store(false);
            run_poll_hook();
        }
        arch::irq_disable();
        if (anything_ready()) {
            schedule();
            continue;
        }
        if (cpu.irq_marked.load() || (me == 0 && poll_due())) continue;
        q.halted.store(true);
        if (!anything_ready()) {
            Nanos before = arch::now();
            arch::halt_until_interrupt();
            q.idle_nanos.fetch_add((arch::now() - before).value, std::memory_order_relaxed);
        }
        q.halted.store(false);
    }
}

void start() {
    auto* first = new KernelThread;
    name_thread(*first, "main");
    first->state = State::Running;
    first->on_cpu = true;
    first->stack_top = reinterpret_cast<uint64_t>(initial_stack_top);
    arch::cpus[0].thread = first;
    Result<KernelThread*> idle = make_thread("idle", [] { run_cpu(); });
    ASSERT(idle);
    (*idle)->idle = true;
    queues[0].idle_thread = *idle;
    started = true;
}

uint64_t thread_root() {
    return running()->root;
}

void set_thread_root(uint64_t root) {
    arch::IrqGuard guard;
    running()->root = root == kernel_root() ? 0 : root;
    arch::load_root(root);
}

} // namespace sched

CpuTimes cpu_times(unsigned cpu) {
    ASSERT(cpu < arch::cpu_count());
    return {Nanos{sched::queues[cpu].idle_nanos.load()}, arch::now(), sched::queues[cpu].switches};
}

} // namespace tessera::kernel
