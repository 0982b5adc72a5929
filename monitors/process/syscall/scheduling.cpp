// Yielding, processors, priorities.
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {

Answer sys_sched_yield(Task&) {
    Thread::yield();
    return 0;
}

namespace {

template <typename F>
Result<void> each_of(Task& t, int which, int who, F&& f) {
    MutexGuard guard(t.vnode().mutex());
    Process& me = t.process();
    bool any = false;
    if (which < 0 || which > 2) return Fail(Error::InvalidArgument);
    t.vnode().for_each_process([&](Process& p) {
        uint32_t id = static_cast<uint32_t>(who);
        bool match = which == 0 ? (who ? p.pid().value == id : &p == &me)
                     : which == 1
                         ? (who ? p.group->pid.value == id : p.group.get() == me.group.get())
                         : p.ids.ruid == (who ? id : me.ids.ruid);
        if (!match || p.tasks.empty()) return;
        any = true;
        f(p);
    });
    if (!any) return Fail(Error::NoProcess);
    return {};
}

} // namespace

// Threads are not bound to processors: what would bind one is refused, what leaves it all of them
// is not.
Answer sys_sched_setaffinity(Task& t, int who, uint32_t length, UserAddress from) {
    if (length == 0) return Fail(Error::InvalidArgument);
    uint64_t mask = 0;
    TRY(copy_in(t, from, std::as_writable_bytes(std::span(&mask, 1)).first(std::min(length, 8u))));
    unsigned cpus = t.vnode().services().machine.info().cpus;
    uint64_t all = cpus >= 64 ? ~0ull : (1ull << cpus) - 1;
    TRY(each_of(t, 0, who, [](Process&) {}));
    if ((mask & all) != all) return Fail(Error::InvalidArgument);
    return 0;
}

Answer sys_sched_getaffinity(Task& t, int, uint32_t length, UserAddress to) {
    if (length < 8 || length % 8) return Fail(Error::InvalidArgument);
    unsigned cpus = t.vnode().services().machine.info().cpus;
    uint64_t mask = cpus >= 64 ? ~0ull : (1ull << cpus) - 1;
    TRY(put(t, to, mask));
    return 8;
}

Answer sys_getpriority(Task& t, int which, int who) {
    int best = 19;
    TRY(each_of(t, which, who, [&](Process& p) { best = std::min(best, p.nice); }));
    return 20 - best;
}

Answer sys_setpriority(Task& t, int which, int who, int nice) {
    nice = std::min(19, std::max(-20, nice));
    const Identities& me = t.process().ids;
    bool denied = false, refused = false;
    TRY(each_of(t, which, who, [&](Process& p) {
        if (me.euid != 0 && me.euid != p.ids.ruid)
            denied = true;
        else if (me.euid != 0 && nice < p.nice)
            refused = true;
        else
            p.nice = nice;
    }));
    if (denied) return Fail(Error::NotPermitted);
    if (refused) return Fail(Error::AccessDenied);
    return 0;
}

// Linux counts these kinds from 1: a process, a group, a user.
Answer sys_ioprio_get(Task& t, int which, int who) {
    int best = 0;
    TRY(each_of(t, which - 1, who, [&](Process& p) { best = std::max(best, p.io_priority); }));
    return best;
}

Answer sys_ioprio_set(Task& t, int which, int who, int priority) {
    int kind = priority >> 13, level = priority & 0x1fff;
    if (kind < 0 || kind > 3 || level > 7 || (kind == 0 && level != 0))
        return Fail(Error::InvalidArgument);
    const Identities& me = t.process().ids;
    if (kind == 1 && me.euid != 0) return Fail(Error::NotPermitted);
    bool denied = false;
    TRY(each_of(t, which - 1, who, [&](Process& p) {
        if (me.euid != 0 && me.euid != p.ids.ruid)
            denied = true;
        else
            p.io_priority = priority;
    }));
    if (denied) return Fail(Error::NotPermitted);
    return 0;
}

} // namespace tessera::syscalls
