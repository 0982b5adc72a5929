// kernel/sync/thread.hpp for a booted kernel.

#include "kernel/sync/thread.hpp"

#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/sched/queue.hpp"

namespace tessera::kernel {

using sched::KernelThread;

namespace {
KernelThread& of(Thread& t) {
    return static_cast<KernelThread&>(t);
}
} // namespace

void Waiter::wake() {
    KernelThread& t = of(thread); // the waiter itself may be gone as soon as woken is true
    woken.store(true, std::memory_order_release);
    sched::unpark(t);
}

void Waiter::sleep(Nanos deadline, Interruptible how) {
    while (!woken.load(std::memory_order_acquire) && !thread.is_kicked(how)) {
        if (deadline != kNever && arch::now() >= deadline) return;
        sched::park(deadline, how);
    }
}

Result<Thread*> Thread::start(const char* name, Function<void(), 64> body) {
    KernelThread* t = TRY(sched::make_thread(name, std::move(body)));
    sched::make_ready(*t);
    return t;
}

Thread& Thread::current() {
    return KernelThread::me();
}

Nanos Thread::now() {
    return arch::now();
}

void Thread::yield() {
    arch::IrqGuard guard;
    sched::schedule();
}

void Thread::sleep_until(Nanos deadline) {
    while (arch::now() < deadline)
        sched::park(deadline, Interruptible::No);
}

void Thread::join() {
    KernelThread& t = of(*this);
    Waiter me(KernelThread::me());
    {
        SpinGuard guard(t.life);
        ASSERT(!t.joiner && !t.detached);
        if (t.ended) {
            me.woken.store(true);
        } else {
            t.joiner = &me;
        }
    }
    me.sleep(kNever, Interruptible::No);
    {
        SpinGuard guard(t.life);
    } // its end has let go of it
    delete &t;
}

void Thread::detach() {
    KernelThread& t = of(*this);
    bool free_it;
    {
        SpinGuard guard(t.life);
        t.detached = true;
        free_it = t.ended;
    }
    if (free_it) delete &t;
}

void Thread::kick(KickKind kind) {
    KernelThread& t = of(*this);
    SpinGuard guard(t.lock);
    t.kicks.fetch_or(static_cast<uint8_t>(kind));
    if (t.state == sched::State::Blocked && t.is_kicked(t.how)) {
        t.state = sched::State::Ready;
        sched::make_ready(t);
    } else if (t.state == sched::State::Running && t.cpu != arch::cpu_id()) {
        arch::send_ipi(t.cpu, arch::kVectorWakeUp); // in user mode it comes back and looks
    }
}

} // namespace tessera::kernel
