#include "monitors/process/posix/signal/boundary.hpp"
#include "monitors/process/posix/signal/frame.hpp"
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

constexpr uint64_t kSetSize = 8;

struct UserAction { // struct kernel_sigaction
    uint64_t handler, flags, restorer, mask;
};

bool may_signal(const Process& from, const Process& to, int signal) {
    const Identities &a = from.ids, &b = to.ids;
    if (a.euid == 0 || a.euid == b.ruid || a.euid == b.suid || a.ruid == b.ruid || a.ruid == b.suid)
        return true;
    return signal == kSigCont && from.group->session.get() == to.group->session.get();
}

SignalInfo from_me(Task& t, int signal, int code = kSiUser) {
    return {.number = signal,
            .code = code,
            .pid = t.process().pid().value,
            .uid = t.process().ids.ruid};
}

Answer send_to_thread(Task& t, int pid, int tid, int signal) {
    if (tid <= 0 || signal < 0 || signal > kSignalCount) return Fail(Error::InvalidArgument);
    MutexGuard guard(t.vnode().mutex());
    Task* to = t.vnode().find_task(Pid(static_cast<uint32_t>(tid)));
    if (!to || (pid > 0 && to->process().pid().value != static_cast<uint32_t>(pid)))
        return Fail(Error::NoProcess);
    if (!may_signal(t.process(), to->process(), signal)) return Fail(Error::NotPermitted);
    if (signal) t.vnode().send_to_task(*to, from_me(t, signal, kSiTkill));
    return 0;
}

} // namespace

Answer sys_rt_sigaction(Task& t, int signal, UserAddress action, UserAddress old, uint64_t size) {
    if (size != kSetSize || signal < 1 || signal > kSignalCount)
        return Fail(Error::InvalidArgument);
    UserAction to{};
    if (action) {
        if (signal == kSigKill || signal == kSigStop) return Fail(Error::InvalidArgument);
        to = TRY(fetch<UserAction>(t, action));
    }
    UserAction was;
    {
        MutexGuard guard(t.vnode().mutex());
        Process& p = t.process();
        SignalAction& a = p.actions[signal];
        was = {a.handler, a.flags, a.restorer, a.mask};
        if (action) {
            a = {to.handler, to.flags, to.restorer, to.mask & ~kUnblockable};
            bool ignores =
                a.handler == kHandlerIgnore ||
                (a.handler == kHandlerDefault && default_action(signal) == DefaultAction::Ignore);
            if (ignores) {
                p.pending.discard(signal_bit(signal));
                for (Task* other : p.tasks)
                    other->pending.discard(signal_bit(signal));
            }
            if (signal == kSigChild) p.no_child_zombies = a.flags & kSaNoChildWait;
        }
    }
    if (old) TRY(put(t, old, was));
    return 0;
}

Answer sys_rt_sigprocmask(Task& t, int how, UserAddress set, UserAddress old, uint64_t size) {
    if (size != kSetSize) return Fail(Error::InvalidArgument);
    SignalSet change = set ? TRY(fetch<SignalSet>(t, set)) : 0;
    SignalSet was;
    {
        MutexGuard guard(t.vnode().mutex());
        was = t.blocked;
        if (set) {
            if (how == 0)
                t.blocked |= change;
            else if (how == 1)
                t.blocked &= ~change;
            else if (how == 2)
                t.blocked = change;
            else
                return Fail(Error::InvalidArgument);
            t.blocked &= ~kUnblockable;
        }
    }
    if (old) TRY(put(t, old, was));
    return 0;
}

Answer sys_rt_sigreturn(Task& t) {
    TRY(return_from_handler(t));
    return static_cast<long>(t.context.registers.rax);
}

Answer sys_rt_sigpending(Task& t, UserAddress to, uint64_t size) {
    if (size > kSetSize) return Fail(Error::InvalidArgument);
    SignalSet set;
    {
        MutexGuard guard(t.vnode().mutex());
        set = (t.pending.set() | t.process().pending.set()) & t.blocked;
    }
    TRY(put(t, to, set));
    return 0;
}

namespace {

// Sleeps until a signal is deliverable or `deadline`.
Result<void> wait_for_signal(Task& t, Nanos deadline) {
    Vnode& v = t.vnode();
    Process& p = t.process();
    MutexGuard guard(v.mutex());
    while (((t.pending.set() | p.pending.set()) & ~t.blocked) == 0 && !p.exiting)
        TRY(block_or_fail(p.changed, v.mutex(), deadline));
    return Fail(Error::Interrupted);
}

} // namespace

Answer sys_pause(Task& t) {
    TRY(wait_for_signal(t, kNever));
    return 0;
}

Answer sys_rt_sigsuspend(Task& t, UserAddress set, uint64_t size) {
    if (size != kSetSize) return Fail(Error::InvalidArgument);
    SignalSet mask = TRY(fetch<SignalSet>(t, set)) & ~kUnblockable;
    {
        MutexGuard guard(t.vnode().mutex());
        t.saved_blocked = t.blocked;
        t.restore_blocked = true;
        t.blocked = mask;
    }
    TRY(wait_for_signal(t, kNever));
    return 0;
}

Answer sys_rt_sigtimedwait(Task& t, UserAddress set, UserAddress info, UserAddress timeout,
                           uint64_t size) {
    if (size != kSetSize) return Fail(Error::InvalidArgument);
    SignalSet want = TRY(fetch<SignalSet>(t, set)) & ~kUnblockable;
    Nanos deadline = kNever;
    if (timeout)
        deadline = keep_deadline(t, later(TRY(duration(TRY(fetch<TimeSpec>(t, timeout))))));
    SignalInfo got;
    {
        Vnode& v = t.vnode();
        Process& p = t.process();
        MutexGuard guard(v.mutex());
        for (;;) {
            got = t.pending.take(want);
            if (!got.number) got = p.pending.take(want);
            if (got.number) break;
            t.waiting_for = want;
            Result<void> woken = block_or_fail(p.changed, v.mutex(), deadline);
            t.waiting_for = 0;
            if (woken) continue;
            got = t.pending.take(want);
            if (!got.number) got = p.pending.take(want);
            if (got.number) break;
            return Fail(woken.error() == Error::Timeout ? Error::Again : woken.error());
        }
    }
    if (info) TRY(copy_out(t, info, encode_siginfo(got)));
    return got.number;
}

Answer sys_rt_sigqueueinfo(Task& t, int pid, int signal, UserAddress info) {
    if (signal < 1 || signal > kSignalCount) return Fail(Error::InvalidArgument);
    auto raw = TRY((fetch<std::array<std::byte, 128>>(t, info)));
    SignalInfo s = from_me(t, signal, load<int>(Bytes(raw).subspan(8)));
    if (s.code >= 0) return Fail(Error::NotPermitted);
    s.value = load<uint64_t>(Bytes(raw).subspan(24));
    MutexGuard guard(t.vnode().mutex());
    Process* to = t.vnode().find_process(Pid(static_cast<uint32_t>(pid)));
    if (!to) return Fail(Error::NoProcess);
    if (!may_signal(t.process(), *to, signal)) return Fail(Error::NotPermitted);
    t.vnode().send(*to, s);
    return 0;
}

Answer sys_sigaltstack(Task& t, UserAddress stack, UserAddress old) {
    struct UserStack {
        uint64_t base;
        uint32_t flags, pad;
        uint64_t size;
    };
    uint64_t rsp = t.context.registers.rsp;
    bool inside = !(t.alternate.flags & 2) && rsp > t.alternate.base &&
                  rsp - t.alternate.base <= t.alternate.size;
    UserStack was{t.alternate.base, t.alternate.flags | (inside ? 1u : 0u), 0, t.alternate.size};
    if (stack) {
        UserStack to = TRY(fetch<UserStack>(t, stack));
        if (inside) return Fail(Error::NotPermitted);
        if (to.flags & ~0x80000003u) return Fail(Error::InvalidArgument);
        if (!(to.flags & 2) && to.size < 2048) return Fail(Error::NoMemory);
        t.alternate =
            to.flags & 2 ? AlternateStack{} : AlternateStack{to.base, to.size, to.flags & ~1u};
    }
    if (old) TRY(put(t, old, was));
    return 0;
}

Answer sys_kill(Task& t, int pid, int signal) {
    if (signal < 0 || signal > kSignalCount) return Fail(Error::InvalidArgument);
    Vnode& v = t.vnode();
    Process& me = t.process();
    MutexGuard guard(v.mutex());
    if (pid > 0) {
        Process* p = v.find_process(Pid(static_cast<uint32_t>(pid)));
        if (!p) return Fail(Error::NoProcess);
        if (!may_signal(me, *p, signal)) return Fail(Error::NotPermitted);
        if (signal) v.send(*p, from_me(t, signal));
        return 0;
    }
    bool any = false, sent = false;
    v.for_each_process([&](Process& p) {
        if (pid == -1 && (p.pid().value == 1 || &p == &me)) return;
        if (pid == 0 && p.group.get() != me.group.get()) return;
        if (pid < -1 && p.group->pid.value != static_cast<uint32_t>(-static_cast<int64_t>(pid)))
            return;
        any = true;
        if (!may_signal(me, p, signal)) return;
        sent = true;
        if (signal) v.send(p, from_me(t, signal));
    });
    if (!any) return Fail(Error::NoProcess);
    if (!sent) return Fail(Error::NotPermitted);
    return 0;
}

Answer sys_tkill(Task& t, int tid, int signal) {
    return send_to_thread(t, 0, tid, signal);
}
Answer sys_tgkill(Task& t, int pid, int tid, int signal) {
    if (pid <= 0) return Fail(Error::InvalidArgument);
    return send_to_thread(t, pid, tid, signal);
}

} // namespace tessera::syscalls
