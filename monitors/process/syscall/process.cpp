// fork to exit, groups and sessions, threads' odds and ends.
#include "monitors/process/posix/exec/exec.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/posix/signal/frame.hpp"
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {

Answer sys_fork(Task& t) {
    return static_cast<long>(TRY(clone_task(t, {})).value);
}
Answer sys_vfork(Task& t) {
    return static_cast<long>(
        TRY(clone_task(t, {.share_memory = true, .wait_for_exec = true})).value);
}

Answer sys_clone(Task& t, uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid,
                 uint64_t tls) {
    constexpr uint64_t kVm = 0x100, kFs = 0x200, kFiles = 0x400, kSighand = 0x800, kVfork = 0x4000,
                       kThread = 0x10000, kSysvSem = 0x40000, kSettls = 0x80000,
                       kParentSettid = 0x100000, kChildCleartid = 0x200000, kDetached = 0x400000,
                       kChildSettid = 0x1000000;
    constexpr uint64_t kKnown = 0xff | kVm | kFs | kFiles | kSighand | kVfork | kThread | kSysvSem |
                                kSettls | kParentSettid | kChildCleartid | kDetached | kChildSettid;
    constexpr uint64_t kAll = kVm | kFs | kFiles | kSighand | kThread;
    if (flags & ~kKnown) return Fail(Error::InvalidArgument);
    bool thread = flags & kThread;
    // Half-shared processes are not made: all of a thread's sharing, or vfork's.
    if (thread && (flags & kAll) != kAll) return Fail(Error::InvalidArgument);
    if (!thread && ((flags & (kFs | kFiles | kSighand)) || ((flags & kVm) && !(flags & kVfork))))
        return Fail(Error::InvalidArgument);
    CloneRequest r;
    r.share_memory = flags & kVm;
    r.wait_for_exec = flags & kVfork;
    r.thread = thread;
    r.set_tls = flags & kSettls;
    r.set_parent_tid = flags & kParentSettid;
    r.set_child_tid = flags & kChildSettid;
    r.clear_child_tid = flags & kChildCleartid;
    r.stack = stack;
    r.tls = tls;
    r.parent_tid = parent_tid;
    r.child_tid = child_tid;
    r.exit_signal = static_cast<int>(flags & 0xff);
    if (r.exit_signal > kSignalCount || (r.set_tls && tls >= kUserEnd))
        return Fail(Error::InvalidArgument);
    return static_cast<long>(TRY(clone_task(t, r)).value);
}

namespace {

Result<std::vector<std::string>> fetch_strings(Task& t, UserAddress list, size_t& budget) {
    std::vector<std::string> v;
    for (; list; list += 8) {
        UserAddress s = TRY(fetch<UserAddress>(t, list));
        if (!s) break;
        if (s >= kUserEnd) return Fail(Error::BadAddress);
        std::string text = TRY(t.space().read_string(s, kMostArgument));
        if (text.size() + 9 > budget) return Fail(Error::TooBig);
        budget -= text.size() + 9;
        v.push_back(std::move(text));
    }
    return v;
}

} // namespace

Answer sys_execveat(Task& t, int at, UserAddress path, UserAddress arguments,
                    UserAddress environment, uint32_t flags) {
    std::string p = TRY(fetch_path(t, path));
    size_t budget = kMostArgumentBytes;
    auto argv = TRY(fetch_strings(t, arguments, budget));
    auto envp = TRY(fetch_strings(t, environment, budget));
    if (p.empty() && (flags & kAtEmptyPath)) {
        Ref<Description> d = TRY(descriptor(t, at));
        Resolved r;
        r.at = d->where();
        r.attributes = TRY(d->attributes());
        r.exists = static_cast<bool>(r.at);
        std::string name = r.at.path;
        TRY(execute_file(t, std::move(r), name, std::move(argv), envp));
        return 0;
    }
    Resolved r =
        TRY(find(t, at, p, flags & kAtSymlinkNoFollow ? LastLink::Keep : LastLink::Follow));
    TRY(execute_file(t, std::move(r), p, std::move(argv), envp));
    return 0;
}

Answer sys_execve(Task& t, UserAddress path, UserAddress arguments, UserAddress environment) {
    return sys_execveat(t, kAtCwd, path, arguments, environment, 0);
}

Answer sys_exit(Task& t, int status) {
    Process& p = t.process();
    bool last;
    {
        MutexGuard guard(t.vnode().mutex());
        last = p.tasks.size() == 1;
    }
    if (last) begin_exit_group(p, (status & 0xff) << 8);
    t.exiting = true;
    return 0;
}

Answer sys_exit_group(Task& t, int status) {
    begin_exit_group(t.process(), (status & 0xff) << 8);
    return 0;
}

namespace {

struct Usage { // struct rusage
    TimeVal user, system;
    int64_t rest[14];
};
static_assert(sizeof(Usage) == 144);

} // namespace

Answer sys_wait4(Task& t, int pid, UserAddress status, int options, UserAddress usage) {
    if (options & ~(kWaitNoHang | kWaitUntraced | kWaitContinued | 0x40000000 | 0x20000000 |
                    static_cast<int>(0x80000000u)))
        return Fail(Error::InvalidArgument);
    WaitResult r = TRY(wait_for_child(t, {.pid = pid, .options = options}));
    if (!r.pid) return 0;
    if (status) TRY(put<int32_t>(t, status, r.status));
    if (usage)
        TRY(put(t, usage, Usage{to_timeval(r.times.user_ns), to_timeval(r.times.system_ns), {}}));
    return static_cast<long>(r.pid.value);
}

Answer sys_waitid(Task& t, int type, int id, UserAddress info, int options, UserAddress usage) {
    constexpr int kExited = 4, kNoWait = 0x01000000;
    if (!(options & (kExited | kWaitUntraced | kWaitContinued)))
        return Fail(Error::InvalidArgument);
    int64_t pid = type == 0   ? -1
                  : type == 1 ? id
                  : type == 2 ? (id ? -static_cast<int64_t>(id) : 0)
                              : 0;
    if (type < 0 || type > 2) return Fail(Error::InvalidArgument);
    WaitResult r =
        TRY(wait_for_child(t, {.pid = pid,
                               .options = options & (kWaitNoHang | kWaitUntraced | kWaitContinued),
                               .want_exited = (options & kExited) != 0,
                               .leave = (options & kNoWait) != 0}));
    std::array<std::byte, 128> bytes{};
    if (r.pid) {
        SignalInfo s{.number = kSigChild, .pid = r.pid.value, .uid = r.uid};
        int w = r.status;
        if (w == 0xffff)
            s.code = kCldContinued, s.status = kSigCont;
        else if ((w & 0xff) == 0x7f)
            s.code = kCldStopped, s.status = w >> 8;
        else if (w & 0x7f)
            s.code = kCldKilled, s.status = w & 0x7f;
        else
            s.code = kCldExited, s.status = w >> 8;
        bytes = encode_siginfo(s);
    }
    if (info) TRY(copy_out(t, info, bytes));
    if (usage)
        TRY(put(t, usage, Usage{to_timeval(r.times.user_ns), to_timeval(r.times.system_ns), {}}));
    return 0;
}

Answer sys_getpid(Task& t) {
    return static_cast<long>(t.process().pid().value);
}
Answer sys_gettid(Task& t) {
    return static_cast<long>(t.tid().value);
}
Answer sys_getppid(Task& t) {
    MutexGuard guard(t.vnode().mutex());
    return t.process().parent ? static_cast<long>(t.process().parent->pid().value) : 1;
}

Answer sys_setpgid(Task& t, int pid, int group) {
    if (pid < 0 || group < 0) return Fail(Error::InvalidArgument);
    TRY(set_group(t, Pid(static_cast<uint32_t>(pid)), Pid(static_cast<uint32_t>(group))));
    return 0;
}

Answer sys_getpgid(Task& t, int pid) {
    MutexGuard guard(t.vnode().mutex());
    Process* p = pid ? t.vnode().find_process(Pid(static_cast<uint32_t>(pid))) : &t.process();
    if (!p) return Fail(Error::NoProcess);
    return static_cast<long>(p->group->pid.value);
}
Answer sys_getpgrp(Task& t) {
    return sys_getpgid(t, 0);
}
Answer sys_setsid(Task& t) {
    return static_cast<long>(TRY(new_session(t)).value);
}
Answer sys_getsid(Task& t, int pid) {
    MutexGuard guard(t.vnode().mutex());
    Process* p = pid ? t.vnode().find_process(Pid(static_cast<uint32_t>(pid))) : &t.process();
    if (!p) return Fail(Error::NoProcess);
    return static_cast<long>(p->group->session->pid.value);
}

Answer sys_set_tid_address(Task& t, uint64_t address) {
    t.clear_child_tid = address;
    return static_cast<long>(t.tid().value);
}
Answer sys_set_robust_list(Task& t, uint64_t head, uint64_t length) {
    if (length != 24) return Fail(Error::InvalidArgument);
    t.robust_list = head;
    return 0;
}

Answer sys_arch_prctl(Task& t, int code, uint64_t address) {
    auto& r = t.context.registers;
    switch (code) {
        case 0x1001:
        case 0x1002:
            if (address >= kUserEnd) return Fail(Error::NotPermitted);
            (code == 0x1002 ? r.fs_base : r.gs_base) = address;
            return 0;
        case 0x1003:
            TRY(put(t, address, r.fs_base));
            return 0;
        case 0x1004:
            TRY(put(t, address, r.gs_base));
            return 0;
        default:
            return Fail(Error::InvalidArgument);
    }
}

Answer sys_prctl(Task& t, int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    Process& p = t.process();
    switch (option) {
        case 1: // PR_SET_PDEATHSIG
            if (a > kSignalCount) return Fail(Error::InvalidArgument);
            p.parent_death_signal = a;
            return 0;
        case 2:
            TRY(put<int32_t>(t, a, static_cast<int32_t>(p.parent_death_signal)));
            return 0;
        case 3:
            return p.dumpable;
        case 4:
            if (a > 1) return Fail(Error::InvalidArgument);
            p.dumpable = a;
            return 0;
        case 15: { // PR_SET_NAME
            std::array<char, 16> name{};
            for (size_t i = 0; i < 15; i++) {
                name[i] = TRY(fetch<char>(t, a + i));
                if (!name[i]) break;
            }
            MutexGuard guard(t.vnode().mutex());
            p.name = name.data();
            return 0;
        }
        case 16: {
            std::array<char, 16> name{};
            {
                MutexGuard guard(t.vnode().mutex());
                std::memcpy(name.data(), p.name.data(), std::min<size_t>(15, p.name.size()));
            }
            TRY(put(t, a, name));
            return 0;
        }
        case 38: // PR_SET_NO_NEW_PRIVS
            if (a != 1 || b || c || d) return Fail(Error::InvalidArgument);
            p.no_new_privileges = true;
            return 0;
        case 39:
            if (a || b || c || d) return Fail(Error::InvalidArgument);
            return p.no_new_privileges;
        default:
            return Fail(Error::InvalidArgument);
    }
}

Answer sys_futex(Task& t, UserAddress word, int operation, uint32_t value, uint64_t timeout,
                 UserAddress second, uint32_t third) {
    bool is_private = operation & 128, realtime = operation & 256;
    FutexTable& f = t.vnode().futexes();
    if (word % 4) return Fail(Error::InvalidArgument);
    switch (operation & 127) {
        case 0:   // WAIT
        case 9: { // WAIT_BITSET: absolute
            Nanos deadline = kNever;
            if (timeout) {
                Nanos d = TRY(duration(TRY(fetch<TimeSpec>(t, timeout))));
                if ((operation & 127) == 0)
                    deadline = keep_deadline(t, later(d));
                else
                    deadline = realtime ? Thread::now() + (d - Nanos{t.vnode().realtime_ns()}) : d;
            }
            uint32_t bits = (operation & 127) == 9 ? third : ~0u;
            if (!bits) return Fail(Error::InvalidArgument);
            TRY(f.wait(t.space(), word, value, bits, is_private, deadline));
            return 0;
        }
        case 1:
            return static_cast<long>(TRY(f.wake(t.space(), word, value, ~0u, is_private)));
        case 10:
            if (!third) return Fail(Error::InvalidArgument);
            return static_cast<long>(TRY(f.wake(t.space(), word, value, third, is_private)));
        case 3:
        case 4:
            return static_cast<long>(
                TRY(f.requeue(t.space(), word, second, value, static_cast<uint32_t>(timeout),
                              (operation & 127) == 4, third, is_private)));
        default:
            return Fail(Error::InvalidArgument);
    }
}

} // namespace tessera::syscalls
