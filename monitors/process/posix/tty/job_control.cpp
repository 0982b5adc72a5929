// Who may use a terminal: sessions, the foreground group, SIGTTIN and SIGTTOU; and descriptors on
// it.
#include "monitors/process/posix/fs/dev_fs.hpp"
#include "monitors/process/posix/tty/tty.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

Result<void> Terminal::check_job_control(Task* t, int signal) {
    if (!t) return {};
    Pid front, owner;
    {
        MutexGuard guard(mutex_);
        front = foreground_;
        owner = session_;
    }
    Process& p = t->process();
    MutexGuard guard(vnode().mutex());
    if (!p.group || p.group->session->pid != owner || !front || p.group->pid == front) return {};
    bool ignored = p.actions[signal].handler == kHandlerIgnore;
    if (ignored || (t->blocked & signal_bit(signal))) {
        if (signal == kSigTtou) return {};
        return Fail(Error::Io);
    }
    if (vnode().orphaned(*p.group)) return Fail(Error::Io);
    vnode().send_to_group(*p.group, {.number = signal, .code = kSiKernel});
    return Fail(Error::Interrupted);
}

Result<Pid> Terminal::foreground(Task& t) {
    {
        MutexGuard guard(vnode().mutex());
        Session& s = *t.process().group->session;
        if (s.terminal.get() != this) return Fail(Error::NotTty);
    }
    return foreground_group();
}

Result<void> Terminal::set_foreground(Task& t, Pid group) {
    {
        MutexGuard guard(vnode().mutex());
        Session& s = *t.process().group->session;
        if (s.terminal.get() != this) return Fail(Error::NotTty);
        ProcessGroup* g = vnode().find_group(group);
        if (!g) return Fail(Error::NoProcess);
        if (g->session.get() != &s) return Fail(Error::NotPermitted);
    }
    TRY(check_job_control(&t, kSigTtou));
    MutexGuard guard(mutex_);
    foreground_ = group;
    return {};
}

Result<void> Terminal::make_controlling(Task& t, bool steal) {
    Pid leader, group;
    Ref<Session> session;
    {
        MutexGuard guard(vnode().mutex());
        Process& p = t.process();
        session = p.group->session;
        if (session->pid != p.pid()) return Fail(Error::NotPermitted);
        if (session->terminal.get() == this) return {};
        if (session->terminal) return Fail(Error::NotPermitted);
        leader = session->pid;
        group = p.group->pid;
    }
    {
        MutexGuard guard(mutex_);
        if (session_ && session_ != leader && !steal) return Fail(Error::NotPermitted);
        session_ = leader;
        foreground_ = group;
    }
    MutexGuard guard(vnode().mutex());
    session->terminal = Ref<Terminal>(this);
    return {};
}

Result<void> Terminal::disown(Task& t) {
    bool leads;
    {
        MutexGuard guard(vnode().mutex());
        Session& s = *t.process().group->session;
        if (s.terminal.get() != this) return Fail(Error::NotTty);
        leads = s.pid == t.process().pid();
        if (leads) s.terminal = nullptr; // the caller's descriptor still holds us
    }
    if (!leads) return {};
    Pid front = foreground_group();
    {
        MutexGuard guard(mutex_);
        session_ = foreground_ = Pid();
    }
    MutexGuard guard(vnode().mutex());
    if (ProcessGroup* g = vnode().find_group(front)) {
        vnode().send_to_group(*g, {.number = kSigHup, .code = kSiKernel});
        vnode().send_to_group(*g, {.number = kSigCont, .code = kSiKernel});
    }
    return {};
}

Result<Pid> Terminal::session_of(Task& t) {
    MutexGuard guard(vnode().mutex());
    Session& s = *t.process().group->session;
    if (s.terminal.get() != this) return Fail(Error::NotTty);
    return s.pid;
}

void Terminal::set_session(Pid session, Pid group) {
    MutexGuard guard(mutex_);
    session_ = session;
    foreground_ = group;
}

Pid Terminal::foreground_group() {
    MutexGuard guard(mutex_);
    return foreground_;
}

Pid Terminal::session() {
    MutexGuard guard(mutex_);
    return session_;
}

Result<size_t> TerminalFile::read(MutableBytes into) {
    return terminal_->read(Task::current(), into, nonblocking());
}

Result<size_t> TerminalFile::write(Bytes from) {
    return terminal_->write(Task::current(), from, nonblocking());
}

Result<Attributes> TerminalFile::attributes() {
    return vnode().devices().terminal_attributes(*terminal_);
}

Result<Attributes> TerminalFile::change(const Credentials&, const AttributeChange&) {
    return attributes(); // owner and mode of a console's terminal are fixed
}

void TerminalFile::record(Archive& a) {
    Description::record(a);
    uint64_t terminal = terminal_->id();
    a.number(terminal);
}

} // namespace tessera::posix
