#include "monitors/process/posix/process/process.hpp"

#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::Thread;

Task::Task(Vnode& v, Process& p, Pid tid) : Object(v, ObjectKind::Task), process_(&p), tid_(tid) {}

Task::~Task() = default;

Task* Task::current() {
    return static_cast<Task*>(Thread::current().owner());
}

AddressSpace& Task::space() const {
    return process_->space();
}

void Task::record(Archive& a) {
    a.number(tid_);
    auto& r = context.registers;
    for (uint64_t* x : {&r.rax, &r.rbx, &r.rcx,    &r.rdx, &r.rsi,     &r.rdi,    &r.rbp,
                        &r.r8,  &r.r9,  &r.r10,    &r.r11, &r.r12,     &r.r13,    &r.r14,
                        &r.r15, &r.rip, &r.rflags, &r.rsp, &r.fs_base, &r.gs_base})
        a.number(*x);
    a.raw(context.fpu());
    a.number(blocked);
    pending.record(a);
    a.number(alternate.base);
    a.number(alternate.size);
    a.number(alternate.flags);
    a.number(restore_blocked);
    a.number(saved_blocked);
    a.number(clear_child_tid);
    a.number(robust_list);
}

Process::Process(Vnode& v, Pid pid)
    : Object(v, ObjectKind::Process), started(Thread::now()), pid_(pid) {
    limits[kLimitStack] = {8 << 20, kNoLimit};
    limits[kLimitCore] = {0, kNoLimit};
    limits[kLimitFiles] = {DescriptorTable::kMost, DescriptorTable::kMost};
    limits[kLimitProcesses] = {v.options().most_processes, v.options().most_processes};
}

Process::~Process() {
    ASSERT(!sibling.linked());
}

Times Process::times() {
    Times t = ended_times;
    for (Task* task : tasks) {
        t.user_ns += task->user_ns;
        t.system_ns += task->system_ns;
    }
    return t;
}

void Process::record(Archive& a) {
    a.number(pid_);
    uint32_t parent_pid = parent ? parent->pid().value : 0;
    a.number(parent_pid);
    uint64_t group_id = group ? group->id() : 0;
    a.number(group_id);
    uint64_t table = descriptors ? descriptors->id() : 0;
    a.number(table);
    a.number(state);
    a.number(wait_status);
    a.number(stop_signal);
    a.number(stop_unreported);
    a.number(continue_unreported);
    a.number(executed);
    pending.record(a);
    for (SignalAction& s : actions) {
        a.number(s.handler);
        a.number(s.flags);
        a.number(s.restorer);
        a.number(s.mask);
    }
    for (std::string* s :
         {&name, &command_line, &environment, &executable.path, &cwd.path, &root.path})
        a.text(*s);
    for (Location* l : {&executable, &cwd, &root}) {
        a.number(l->file.id);
        a.number(l->file.generation);
    }
    for (uint32_t* n : {&ids.ruid, &ids.euid, &ids.suid, &ids.rgid, &ids.egid, &ids.sgid})
        a.number(*n);
    for (uint32_t& g : ids.groups)
        a.number(g);
    a.number(ids.group_count);
    if (ids.group_count > ids.groups.size()) {
        a.fail();
        ids.group_count = 0;
    }
    for (Limit& l : limits) {
        a.number(l.soft);
        a.number(l.hard);
    }
    a.number(umask);
    a.number(nice);
    a.number(exit_signal);
    a.number(alarm_at.value);
    a.number(alarm_interval.value);
    a.number(children_times.user_ns);
    a.number(children_times.system_ns);
    a.number(ended_times.user_ns);
    a.number(ended_times.system_ns);
    a.number(stack_top);
    a.number(personality);
}

void Session::record(Archive& a) {
    a.number(pid);
    uint64_t t = terminal ? terminal->id() : 0;
    a.number(t);
}

void ProcessGroup::record(Archive& a) {
    a.number(pid);
    uint64_t s = session->id();
    a.number(s);
}

kernel::Wake block(kernel::WaitQueue& q, kernel::Mutex& m, Nanos deadline,
                   kernel::Interruptible how) {
    Task* t = Task::current();
    if (!t) return q.wait(m, deadline, how);
    Nanos from = Thread::now();
    t->sleeping = true;
    kernel::Wake w = q.wait(m, deadline, how);
    t->sleeping = false;
    t->blocked_ns += (Thread::now() - from).value;
    return w;
}

Result<void> block_or_fail(kernel::WaitQueue& q, kernel::Mutex& m, Nanos deadline) {
    switch (block(q, m, deadline)) {
        case kernel::Wake::Kicked:
            return Fail(Error::Interrupted);
        case kernel::Wake::Timeout:
            return Fail(Error::Timeout);
        case kernel::Wake::Event:
            break;
    }
    return {};
}

} // namespace tessera::posix
