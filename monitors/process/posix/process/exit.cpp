// exit, zombies, orphans, wait4; process groups and sessions.
#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

void begin_exit_group(Process& p, int wait_status) {
    MutexGuard guard(p.vnode().mutex());
    if (p.exiting) return;
    p.exiting = true;
    p.wait_status = wait_status;
    Task* me = Task::current();
    for (Task* t : p.tasks)
        if (t != me && t->thread) t->thread->kick(kernel::KickKind::Kill);
    p.changed.wake_all();
}

namespace {

// A group that has just lost its last parent outside must not stay stopped for ever. Holds V.
void wake_if_orphaned(Vnode& v, ProcessGroup& g) {
    if (!v.orphaned(g)) return;
    bool stopped = false;
    v.for_each_process(
        [&](Process& p) { stopped |= p.group.get() == &g && p.state == Process::State::Stopped; });
    if (!stopped) return;
    v.send_to_group(g, {.number = kSigHup, .code = kSiKernel});
    v.send_to_group(g, {.number = kSigCont, .code = kSiKernel});
}

// Holds V. The process has no tasks, files or memory any more.
void become_zombie(Process& p) {
    Vnode& v = p.vnode();
    p.state = Process::State::Zombie;
    p.alarm_at = kNever;
    v.counters.exits++;
    // Children go to init, which reaps them.
    while (Process* c = p.children.pop_front()) {
        c->parent = nullptr;
        if (c->parent_death_signal)
            v.send(*c, {.number = static_cast<int>(c->parent_death_signal), .pid = p.pid().value});
        if (c->state == Process::State::Zombie)
            v.remove_process(*c);
        else
            wake_if_orphaned(v, *c->group);
    }
    Ref<ProcessGroup> group = p.group;
    Ref<Session> session = group->session;
    if (session->pid == p.pid() && session->terminal) {
        Ref<Terminal> terminal = session->terminal;
        session->terminal = nullptr;
        if (ProcessGroup* front = v.find_group(terminal->foreground_group())) {
            v.send_to_group(*front, {.number = kSigHup, .code = kSiKernel});
            v.send_to_group(*front, {.number = kSigCont, .code = kSiKernel});
        }
        terminal->session_ended();
    }
    if (p.console) {
        bool killed = p.wait_status & 0x7f;
        p.console->state_changed(
            killed ? schema::ConsoleState::Killed : schema::ConsoleState::Exited,
            static_cast<uint8_t>(killed ? p.wait_status & 0x7f : p.wait_status >> 8),
            p.death_reason);
    }
    Process* parent = p.parent;
    if (!parent) {
        v.remove_process(p);
        wake_if_orphaned(v, *group);
        return;
    }
    bool killed = p.wait_status & 0x7f;
    SignalInfo s{.number = p.exit_signal,
                 .code = killed ? kCldKilled : kCldExited,
                 .pid = p.pid().value,
                 .uid = p.ids.ruid,
                 .status = killed ? p.wait_status & 0x7f : p.wait_status >> 8};
    bool unwanted =
        parent->no_child_zombies || parent->actions[kSigChild].handler == kHandlerIgnore;
    if (s.number) v.send(*parent, s);
    if (unwanted) {
        Times t = p.times();
        parent->children_times.user_ns += t.user_ns + p.children_times.user_ns;
        parent->children_times.system_ns += t.system_ns + p.children_times.system_ns;
        v.remove_process(p);
    }
    parent->child_changed.wake_all();
    wake_if_orphaned(v, *group);
}

} // namespace

void finish_task(Task& t) {
    Vnode& v = t.vnode();
    Process& p = t.process();
    Ref<Process> keep(&p);
    if (t.clear_child_tid && p.memory) {
        uint32_t zero = 0;
        if (p.space().write(t.clear_child_tid, bytes_of(zero)))
            (void)v.futexes().wake(p.space(), t.clear_child_tid, 1, ~0u, false);
    }
    // From here on somebody else may destroy the space: a reader of /proc can hold the last
    // reference.
    if (p.memory) p.space().leave();
    bool last;
    Ref<SpaceHolder> memory;
    Ref<DescriptorTable> descriptors;
    {
        MutexGuard guard(v.mutex());
        std::erase(p.tasks, &t);
        p.ended_times.user_ns += t.user_ns;
        p.ended_times.system_ns += t.system_ns;
        last = p.tasks.empty();
        if (last) {
            memory = std::move(p.memory);
            p.memory = nullptr;
            descriptors = std::move(p.descriptors);
            p.descriptors = nullptr;
        }
        p.changed.wake_all();
    }
    if (last) {
        descriptors->close_all();
        descriptors = nullptr;
        if (memory) {
            MemoryUse use = memory->space->use();
            p.fault_count = use.faults;
            p.remote_fault_count = use.remote_faults;
        }
        memory = nullptr; // everything goes back, unless a vfork parent still uses it
    }
    MutexGuard guard(v.mutex());
    if (last) {
        p.vfork_done = true;
        p.changed.wake_all();
        become_zombie(p);
    }
    v.retire(t.thread);
}

Result<WaitResult> wait_for_child(Task& t, const WaitRequest& r) {
    Vnode& v = t.vnode();
    Process& me = t.process();
    Ref<Process> gone; // dropped after the lock
    MutexGuard guard(v.mutex());
    for (;;) {
        bool any = false;
        for (Process& c : me.children) {
            if (r.pid > 0 && c.pid().value != static_cast<uint64_t>(r.pid)) continue;
            if (r.pid == 0 && c.group.get() != me.group.get()) continue;
            if (r.pid < -1 && c.group->pid.value != static_cast<uint64_t>(-r.pid)) continue;
            any = true;
            WaitResult result{.pid = c.pid(), .status = 0, .times = {}, .uid = c.ids.ruid};
            if (c.state == Process::State::Zombie && r.want_exited) {
                result.status = c.wait_status;
                result.times = c.times();
                result.times.user_ns += c.children_times.user_ns;
                result.times.system_ns += c.children_times.system_ns;
                if (r.leave) return result;
                me.children_times.user_ns += result.times.user_ns;
                me.children_times.system_ns += result.times.system_ns;
                gone = Ref<Process>(&c);
                v.remove_process(c);
                return result;
            }
            if (c.state == Process::State::Stopped && c.stop_unreported &&
                (r.options & kWaitUntraced)) {
                if (!r.leave) c.stop_unreported = false;
                result.status = c.stop_signal << 8 | 0x7f;
                return result;
            }
            if (c.continue_unreported && (r.options & kWaitContinued)) {
                if (!r.leave) c.continue_unreported = false;
                result.status = 0xffff;
                return result;
            }
        }
        if (!any) return Fail(Error::NoChild);
        if (r.options & kWaitNoHang) return WaitResult{};
        TRY(block_or_fail(me.child_changed, v.mutex()));
    }
}

Result<void> set_group(Task& t, Pid pid, Pid group) {
    Vnode& v = t.vnode();
    Process& me = t.process();
    Ref<ProcessGroup> old;
    MutexGuard guard(v.mutex());
    Process* p = pid ? v.find_process(pid) : &me;
    if (!p || (p != &me && p->parent != &me)) return Fail(Error::NoProcess);
    if (p->state == Process::State::Zombie) return Fail(Error::NoProcess);
    if (p->group->session.get() != me.group->session.get()) return Fail(Error::NotPermitted);
    if (p != &me && p->executed) return Fail(Error::AccessDenied);
    if (p->group->session->pid == p->pid()) return Fail(Error::NotPermitted);
    if (!group) group = p->pid();
    if (p->group->pid == group) return {};
    Ref<ProcessGroup> to(v.find_group(group));
    if (!to) {
        if (group != p->pid()) return Fail(Error::NotPermitted);
        to = make_ref<ProcessGroup>(v, group, p->group->session);
        v.groups()[group] = to.get();
    }
    if (to->session.get() != p->group->session.get()) return Fail(Error::NotPermitted);
    old = p->group;
    if (--old->members == 0) v.groups().erase(old->pid);
    to->members++;
    p->group = to;
    return {};
}

Result<Pid> new_session(Task& t) {
    Vnode& v = t.vnode();
    Process& p = t.process();
    Ref<ProcessGroup> old;
    MutexGuard guard(v.mutex());
    if (v.find_group(p.pid())) return Fail(Error::NotPermitted);
    auto session = make_ref<Session>(v, p.pid());
    auto group = make_ref<ProcessGroup>(v, p.pid(), session);
    v.groups()[p.pid()] = group.get();
    old = p.group;
    if (--old->members == 0) v.groups().erase(old->pid);
    group->members = 1;
    p.group = group;
    return p.pid();
}

} // namespace tessera::posix
