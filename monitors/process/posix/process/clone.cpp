// fork, vfork, clone, and the first process of a program.
#include "base/log.hpp"
#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/exec/exec.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;
using kernel::Thread;

namespace {

// Starts the task's thread. Holds V; the new thread begins by taking it.
Result<void> start_task(Vnode& v, Ref<Task> t) {
    auto run = v.services().run_task;
    Thread* thread = TRY(Thread::start(t->process().name.c_str(), [t, run] {
        Thread::current().set_owner(t.get());
        {
            MutexGuard guard(t->vnode().mutex());
            t->thread = &Thread::current();
        }
        run(*t);
        Thread::current().set_owner(nullptr);
    }));
    (void)thread; // joined by the vNode once retired
    v.task_started();
    return {};
}

// What a child has of its parent. Holds V.
void inherit(Process& child, Process& parent) {
    child.name = parent.name;
    child.command_line = parent.command_line;
    child.environment = parent.environment;
    child.executable = parent.executable;
    child.cwd = parent.cwd;
    child.root = parent.root;
    child.ids = parent.ids;
    child.limits = parent.limits;
    child.umask = parent.umask;
    child.nice = parent.nice;
    child.io_priority = parent.io_priority;
    child.actions = parent.actions;
    child.no_child_zombies = parent.no_child_zombies;
    child.stack_top = parent.stack_top;
    child.personality = parent.personality;
    child.dumpable = parent.dumpable;
    child.no_new_privileges = parent.no_new_privileges;
    child.group = parent.group;
    child.group->members++;
}

Result<Pid> new_thread(Task& parent, const CloneRequest& r) {
    Vnode& v = parent.vnode();
    Process& p = parent.process();
    Ref<Task> t;
    Pid tid;
    {
        MutexGuard guard(v.mutex());
        if (p.exiting || p.exec_by) return Fail(Error::Again);
        tid = TRY(v.allocate_pid());
        t = make_ref<Task>(v, p, tid);
    }
    t->context.registers = parent.context.registers;
    t->context.copy_fpu_from(parent.context);
    t->context.registers.rax = 0;
    if (r.stack) t->context.registers.rsp = r.stack;
    if (r.set_tls) t->context.registers.fs_base = r.tls;
    if (r.clear_child_tid) t->clear_child_tid = r.child_tid;
    if (r.set_parent_tid) TRY(p.space().write(r.parent_tid, bytes_of(tid.value)));
    if (r.set_child_tid) TRY(p.space().write(r.child_tid, bytes_of(tid.value)));
    MutexGuard guard(v.mutex());
    if (p.exiting || p.exec_by) return Fail(Error::Again);
    t->blocked = parent.blocked;
    p.tasks.push_back(t.get());
    if (Result<void> started = start_task(v, t); !started) {
        p.tasks.pop_back();
        return Fail(started.error());
    }
    return tid;
}

} // namespace

Result<Pid> clone_task(Task& parent, const CloneRequest& r) {
    if (r.thread) return new_thread(parent, r);
    Vnode& v = parent.vnode();
    Process& pp = parent.process();
    Ref<SpaceHolder> memory =
        r.share_memory ? pp.memory : make_ref<SpaceHolder>(TRY(pp.space().fork()));
    Ref<DescriptorTable> descriptors = pp.descriptors->copy();
    Ref<Process> child;
    Ref<Task> t;
    Pid pid;
    {
        MutexGuard guard(v.mutex());
        uint64_t same_user = 0;
        v.for_each_process([&](Process& p) { same_user += p.ids.ruid == pp.ids.ruid; });
        if (v.process_count() >= v.options().most_processes || pp.exiting ||
            (pp.ids.euid != 0 && same_user >= pp.limits[kLimitProcesses].soft))
            return Fail(Error::Again);
        pid = TRY(v.allocate_pid());
        child = make_ref<Process>(v, pid);
        t = make_ref<Task>(v, *child, pid);
    }
    child->memory = std::move(memory);
    child->descriptors = std::move(descriptors);
    child->exit_signal = r.exit_signal;
    child->vfork_done = !r.wait_for_exec;
    t->context.registers = parent.context.registers;
    t->context.copy_fpu_from(parent.context);
    t->context.registers.rax = 0;
    if (r.stack) t->context.registers.rsp = r.stack;
    if (r.set_tls) t->context.registers.fs_base = r.tls;
    if (r.clear_child_tid) t->clear_child_tid = r.child_tid;
    if (!r.share_memory) t->alternate = parent.alternate;
    if (r.set_child_tid) TRY(child->space().write(r.child_tid, bytes_of(pid.value)));
    if (r.set_parent_tid) TRY(pp.space().write(r.parent_tid, bytes_of(pid.value)));

    MutexGuard guard(v.mutex());
    if (pp.exiting) return Fail(Error::Again);
    inherit(*child, pp);
    t->blocked = parent.blocked;
    child->parent = &pp;
    pp.children.push_back(*child);
    child->tasks.push_back(t.get());
    v.add_process(*child);
    if (Result<void> started = start_task(v, t); !started) {
        child->tasks.clear();
        v.remove_process(*child);
        return Fail(started.error());
    }
    v.counters.forks++;
    while (!child->vfork_done) {
        // Only a kill ends this: the child still runs on our stack, but then we never return to it.
        if (block(child->changed, v.mutex(), kNever, kernel::Interruptible::KillOnly) ==
            kernel::Wake::Kicked)
            return Fail(Error::Interrupted);
    }
    return pid;
}

Result<Ref<Process>> start_program(Vnode& v, ProgramRequest r) {
    if (r.arguments.empty() || r.arguments[0].empty()) return Fail(Error::InvalidArgument);
    Ref<Process> p;
    Ref<Task> t;
    {
        MutexGuard guard(v.mutex());
        Pid pid = TRY(v.allocate_pid());
        p = make_ref<Process>(v, pid);
        t = make_ref<Task>(v, *p, pid);
    }
    FileSystem& store = *v.mounts().all().front().fs;
    p->root = {&store, store.root(), "/"};
    p->cwd = p->root;
    p->ids = {r.uid, r.uid, r.uid, r.gid, r.gid, r.gid, {}, 0};
    Credentials who = p->credentials();
    Resolved cwd =
        TRY(resolve_existing(v.mounts(), {p->root, p->root, who}, r.cwd, LastLink::Follow));
    if (cwd.attributes.type != FileType::Directory) return Fail(Error::NotDirectory);
    p->cwd = cwd.at;
    p->descriptors = make_ref<DescriptorTable>(v);
    if (r.console) {
        for (auto& d : r.console->open_descriptors())
            TRY(p->descriptors->add(std::move(d), false));
    }
    std::string path = TRY(search_program(*t, r.arguments[0], r.environment));
    TRY(execute(*t, path, r.arguments, r.environment));

    auto session = make_ref<Session>(v, p->pid());
    auto group = make_ref<ProcessGroup>(v, p->pid(), session);
    if (r.console && r.console->terminal()) r.console->terminal()->set_session(p->pid(), p->pid());
    MutexGuard guard(v.mutex());
    p->group = group;
    group->members = 1;
    if (r.console && r.console->terminal()) session->terminal = r.console->terminal();
    p->console = r.console;
    p->tasks.push_back(t.get());
    v.add_process(*p);
    if (r.console) r.console->attach(*p);
    if (Result<void> started = start_task(v, t); !started) {
        p->tasks.clear();
        v.remove_process(*p);
        return Fail(started.error());
    }
    return p;
}

} // namespace tessera::posix
