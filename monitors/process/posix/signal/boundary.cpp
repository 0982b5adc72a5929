#include "monitors/process/posix/signal/boundary.hpp"

#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/posix/signal/frame.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

namespace {

// Default action Stop. Holds V.
void stop(Process& p, int signal) {
    Vnode& v = p.vnode();
    p.state = Process::State::Stopped;
    p.stop_signal = signal;
    p.stop_unreported = true;
    p.continue_unreported = false;
    for (Task* other : p.tasks)
        if (other != Task::current() && other->thread)
            other->thread->kick(kernel::KickKind::Signal);
    if (p.console)
        p.console->state_changed(schema::ConsoleState::Stopped, static_cast<uint8_t>(signal), "");
    if (!p.parent) return;
    if (!(p.parent->actions[kSigChild].flags & kSaNoChildStop))
        v.send(*p.parent, {.number = kSigChild,
                           .code = kCldStopped,
                           .pid = p.pid().value,
                           .uid = p.ids.ruid,
                           .status = signal});
    p.parent->child_changed.wake_all();
}

void finish_restart(Task& t, PendingRestart& r, bool handler, bool again) {
    if (!r.active) return;
    r.active = false;
    auto& regs = t.context.registers;
    if (handler && (r.never_after_handler || !again)) {
        regs.rax = static_cast<uint64_t>(-4L); // EINTR
        t.restart = {};
        return;
    }
    regs.rax = r.call;
    regs.rip -= 2; // the SYSCALL instruction
    if (handler) t.restart = {};
}

} // namespace

Boundary user_boundary(Task& t, PendingRestart restart) {
    Vnode& v = t.vnode();
    Process& p = t.process();
    for (;;) {
        t.thread->clear_kick();
        SignalInfo info;
        SignalAction action;
        SignalSet mask_in_frame = 0;
        {
            MutexGuard guard(v.mutex());
            if (p.exiting || (p.exec_by && p.exec_by != &t)) return Boundary::Exit;
            if (p.state == Process::State::Stopped) {
                while (p.state == Process::State::Stopped && !p.exiting)
                    if (block(p.changed, v.mutex(), kNever, kernel::Interruptible::KillOnly) ==
                        kernel::Wake::Kicked)
                        break;
                if (p.state == Process::State::Stopped && !p.pending.has(kSigKill)) continue;
            }
            info = t.pending.take(~t.blocked | kUnblockable);
            if (!info.number) info = p.pending.take(~t.blocked | kUnblockable);
            if (!info.number) {
                if (t.restore_blocked) {
                    t.restore_blocked = false;
                    t.blocked = t.saved_blocked;
                    continue; // others may be deliverable now
                }
                break;
            }
            action = p.actions[info.number];
            if (action.handler == kHandlerIgnore) continue;
            if (action.handler == kHandlerDefault) {
                switch (default_action(info.number)) {
                    case DefaultAction::Ignore:
                    case DefaultAction::Continue:
                        continue;
                    case DefaultAction::Stop:
                        if (info.number == kSigStop || !v.orphaned(*p.group)) stop(p, info.number);
                        continue;
                    case DefaultAction::Terminate:
                        break;
                }
            } else {
                if (action.flags & kSaResetHand) p.actions[info.number].handler = kHandlerDefault;
                mask_in_frame = t.restore_blocked ? t.saved_blocked : t.blocked;
                t.restore_blocked = false;
                t.blocked |= action.mask;
                if (!(action.flags & kSaNoDefer)) t.blocked |= signal_bit(info.number);
                t.blocked &= ~kUnblockable;
            }
        }
        if (action.handler == kHandlerDefault) {
            begin_exit_group(p, info.number);
            return Boundary::Exit;
        }
        finish_restart(t, restart, true, action.flags & kSaRestart);
        if (!push_frame(t, info, action, mask_in_frame)) { // no stack to run the handler on
            begin_exit_group(p, kSigSegv);
            return Boundary::Exit;
        }
    }
    finish_restart(t, restart, false, true);
    return Boundary::Run;
}

Result<void> return_from_handler(Task& t) {
    SignalSet blocked = 0;
    Result<void> r = pop_frame(t, blocked);
    if (!r) {
        force_signal(t, {.number = kSigSegv, .code = kSiKernel});
        return r;
    }
    MutexGuard guard(t.vnode().mutex());
    t.blocked = blocked & ~kUnblockable;
    return {};
}

void force_signal(Task& t, SignalInfo s) {
    MutexGuard guard(t.vnode().mutex());
    SignalAction& a = t.process().actions[s.number];
    if (a.handler == kHandlerIgnore || (t.blocked & signal_bit(s.number))) {
        a.handler = kHandlerDefault;
        t.blocked &= ~signal_bit(s.number);
    }
    t.pending.add(s);
}

} // namespace tessera::posix
