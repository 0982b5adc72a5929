// Sending signals: who gets them, what they undo, whom they wake. Guarded by Vnode::mutex().
#include "monitors/process/posix/console/console.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

namespace {

void resume(Vnode& v, Process& p, bool report) {
    if (p.state != Process::State::Stopped) return;
    p.state = Process::State::Running;
    p.stop_unreported = false;
    p.changed.wake_all();
    if (p.console) p.console->state_changed(schema::ConsoleState::Running, 0, "");
    if (!report) return;
    p.continue_unreported = true;
    if (!p.parent) return;
    if (!(p.parent->actions[kSigChild].flags & kSaNoChildStop))
        v.send(*p.parent, {.number = kSigChild,
                           .code = kCldContinued,
                           .pid = p.pid().value,
                           .uid = p.ids.ruid,
                           .status = kSigCont});
    p.parent->child_changed.wake_all();
}

} // namespace

// Stop and continue undo each other when they are sent, whatever the handlers are.
void Vnode::prepare_signal(Process& p, int signal) {
    if (signal == kSigCont) {
        p.pending.discard(kStopSignals);
        for (Task* t : p.tasks)
            t->pending.discard(kStopSignals);
        resume(*this, p, true);
    } else if (kStopSignals & signal_bit(signal)) {
        p.pending.discard(signal_bit(kSigCont));
        for (Task* t : p.tasks)
            t->pending.discard(signal_bit(kSigCont));
    } else if (signal == kSigKill) {
        resume(*this, p, false);
    }
}

// Whether the signal must be kept: not one that would be ignored and that nobody has blocked.
bool Vnode::wants(const Process& p, const Task* only, int signal) const {
    const SignalAction& a = p.actions[signal];
    bool ignored =
        a.handler == kHandlerIgnore ||
        (a.handler == kHandlerDefault && (default_action(signal) == DefaultAction::Ignore ||
                                          default_action(signal) == DefaultAction::Continue));
    if (!ignored) return true;
    for (const Task* t : p.tasks) {
        if (only && t != only) continue;
        if ((t->blocked | t->waiting_for) & signal_bit(signal)) return true;
    }
    return false;
}

void Vnode::kick_for(Process& p, int signal) {
    if (signal == kSigKill) {
        for (Task* t : p.tasks)
            if (t->thread) t->thread->kick(kernel::KickKind::Kill);
        p.changed.wake_all();
        return;
    }
    for (Task* t : p.tasks) {
        if ((t->blocked & signal_bit(signal)) && !(t->waiting_for & signal_bit(signal))) continue;
        if (t->thread) t->thread->kick(kernel::KickKind::Signal);
        return;
    }
}

void Vnode::send(Process& p, const SignalInfo& s) {
    if (p.tasks.empty() || p.state == Process::State::Zombie || p.state == Process::State::Gone)
        return;
    prepare_signal(p, s.number);
    if (!wants(p, nullptr, s.number)) return;
    p.pending.add(s);
    kick_for(p, s.number);
}

void Vnode::send_to_task(Task& t, const SignalInfo& s) {
    Process& p = t.process();
    if (s.number == kSigKill) return send(p, s);
    prepare_signal(p, s.number);
    if (!wants(p, &t, s.number)) return;
    t.pending.add(s);
    bool asleep_for_it = t.waiting_for & signal_bit(s.number);
    if (((t.blocked & signal_bit(s.number)) == 0 || asleep_for_it) && t.thread)
        t.thread->kick(kernel::KickKind::Signal);
}

void Vnode::send_to_group(ProcessGroup& g, const SignalInfo& s) {
    for (auto& [pid, p] : processes_)
        if (p->group.get() == &g) send(*p, s);
}

} // namespace tessera::posix
