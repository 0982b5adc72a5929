// How threads come to be: their records, stacks and first steps, and each CPU's idle thread.

#include <cstring>
#include <new>

#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/mm/kernel_map.hpp"
#include "kernel/sched/queue.hpp"

namespace tessera::kernel::sched {

void name_thread(KernelThread& t, const char* name) {
    std::strncpy(t.label, name, sizeof t.label - 1);
}

namespace {

extern "C" [[noreturn]] void thread_main() {
    finish_switch();
    arch::irq_enable();
    KernelThread& me = KernelThread::me();
    me.body();
    me.body.reset();
    arch::irq_disable();
    me.state = State::Ended;
    schedule();
    __builtin_unreachable();
}

} // namespace

Result<KernelThread*> make_thread(const char* name, Function<void(), 64> body) {
    auto* t = new (std::nothrow) KernelThread;
    if (!t) return Fail(Error::NoMemory);
    Result<uint64_t> stack = allocate_kernel_stack();
    if (!stack) {
        delete t;
        return Fail(Error::NoMemory);
    }
    name_thread(*t, name);
    t->stack_top = *stack;
    t->body = std::move(body);
    t->cpu = arch::cpu_id();
    // What switch_stacks pops: r15 r14 r13 r12 rbx rbp and the return address. As after a call, the
    // stack is 8 off a multiple of 16 when thread_main begins.
    auto* top = reinterpret_cast<uint64_t*>(*stack) - 2;
    top[0] = reinterpret_cast<uint64_t>(thread_main);
    top[1] = 0; // ends backtraces
    for (int i = 1; i <= 6; i++)
        top[-i] = 0;
    t->rsp = reinterpret_cast<uint64_t>(top - 6);
    return t;
}

bool prepare_cpu(unsigned cpu, uint64_t stack_top) {
    auto* idle = new (std::nothrow) KernelThread;
    if (!idle) return false;
    name_thread(*idle, "idle");
    idle->idle = true;
    idle->cpu = cpu;
    idle->state = State::Running;
    idle->on_cpu = true;
    idle->stack_top = stack_top;
    queues[cpu].idle_thread = idle;
    arch::cpus[cpu].thread = idle;
    return true;
}

} // namespace tessera::kernel::sched
