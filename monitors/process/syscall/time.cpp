// Clocks, sleeping, timers, usage.
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

constexpr int kAbsolute = 1;

Result<int64_t> clock_value(Task& t, int clock) {
    switch (clock) {
        case 0:
        case 5:
            return t.vnode().realtime_ns();
        case 1:
        case 4:
        case 6:
        case 7:
            return Thread::now().value;
        case 2: {
            MutexGuard guard(t.vnode().mutex());
            Times x = t.process().times();
            return x.user_ns + x.system_ns;
        }
        case 3:
            return t.user_ns + t.system_ns;
        default:
            return Fail(Error::InvalidArgument);
    }
}

// Sleeps on the vNode's clock; `left` is told if a handler ends it.
Answer sleep_until(Task& t, Nanos deadline, UserAddress left) {
    Vnode& v = t.vnode();
    Result<void> r;
    {
        MutexGuard guard(v.mutex());
        do
            r = block_or_fail(t.process().changed, v.mutex(), deadline);
        while (r);
    }
    if (r.error() == Error::Timeout) return 0;
    if (left) {
        Nanos rest = std::max(Nanos{0}, deadline - Thread::now());
        TRY(put(t, left, to_timespec(rest.value)));
    }
    return Fail(r.error());
}

struct IntervalTimer {
    TimeVal interval, value;
};

Result<Nanos> from_timeval(TimeVal v) {
    if (v.micros < 0 || v.micros >= 1'000'000) return Fail(Error::InvalidArgument);
    return duration({v.seconds, v.micros * 1000});
}

IntervalTimer timer_now(Process& p) { // holds V
    Nanos rest =
        p.alarm_at == kNever ? Nanos{0} : std::max(Nanos{1000}, p.alarm_at - Thread::now());
    return {to_timeval(p.alarm_interval.value), to_timeval(rest.value)};
}

} // namespace

Answer sys_nanosleep(Task& t, UserAddress request, UserAddress left) {
    Nanos d = TRY(duration(TRY(fetch<TimeSpec>(t, request))));
    return sleep_until(t, keep_deadline(t, later(d)), left);
}

Answer sys_clock_nanosleep(Task& t, int clock, int flags, UserAddress request, UserAddress left) {
    if (clock == 3 || clock < 0 || clock > 7) return Fail(Error::InvalidArgument);
    Nanos d = TRY(duration(TRY(fetch<TimeSpec>(t, request))));
    if (!(flags & kAbsolute)) return sleep_until(t, keep_deadline(t, later(d)), left);
    int64_t now = TRY(clock_value(t, clock));
    return sleep_until(t, later(Nanos{std::max<int64_t>(0, d.value - now)}), 0);
}

Answer sys_clock_gettime(Task& t, int clock, UserAddress to) {
    TRY(put(t, to, to_timespec(TRY(clock_value(t, clock)))));
    return 0;
}

Answer sys_clock_getres(Task& t, int clock, UserAddress to) {
    TRY(clock_value(t, clock));
    if (to) TRY(put(t, to, TimeSpec{0, 1}));
    return 0;
}

Answer sys_clock_settime(Task&, int, UserAddress) {
    return Fail(Error::NotPermitted); // time is the cluster's
}

Answer sys_gettimeofday(Task& t, UserAddress to, UserAddress zone) {
    if (to) TRY(put(t, to, to_timeval(t.vnode().realtime_ns())));
    if (zone) TRY(put(t, zone, uint64_t{0}));
    return 0;
}

Answer sys_time(Task& t, UserAddress to) {
    int64_t s = t.vnode().realtime_ns() / 1'000'000'000;
    if (to) TRY(put(t, to, s));
    return s;
}

Answer sys_times(Task& t, UserAddress to) {
    constexpr int64_t kTick = 10'000'000;
    Times mine, children;
    {
        MutexGuard guard(t.vnode().mutex());
        mine = t.process().times();
        children = t.process().children_times;
    }
    std::array<int64_t, 4> v{mine.user_ns / kTick, mine.system_ns / kTick, children.user_ns / kTick,
                             children.system_ns / kTick};
    if (to) TRY(put(t, to, v));
    return Thread::now().value / kTick;
}

Answer sys_getrusage(Task& t, int who, UserAddress to) {
    struct {
        TimeVal user, system;
        int64_t max_rss, shared, data, stack, minor_faults, major_faults, rest[8];
    } u{};
    static_assert(sizeof u == 144);
    Times x;
    {
        MutexGuard guard(t.vnode().mutex());
        if (who == 0)
            x = t.process().times();
        else if (who == -1)
            x = t.process().children_times;
        else if (who == 1)
            x = {t.user_ns, t.system_ns};
        else
            return Fail(Error::InvalidArgument);
    }
    u.user = to_timeval(x.user_ns);
    u.system = to_timeval(x.system_ns);
    if (who == 0) {
        MemoryUse m = t.space().use();
        u.max_rss = static_cast<int64_t>(m.resident_lines * 4);
        u.minor_faults = static_cast<int64_t>(m.faults - m.remote_faults);
        u.major_faults = static_cast<int64_t>(m.remote_faults);
    }
    TRY(put(t, to, u));
    return 0;
}

Answer sys_alarm(Task& t, uint32_t secs) {
    Process& p = t.process();
    MutexGuard guard(t.vnode().mutex());
    int64_t left = p.alarm_at == kNever ? 0 : (p.alarm_at - Thread::now()).value;
    p.alarm_at = secs ? later(seconds(secs)) : kNever;
    p.alarm_interval = {};
    t.vnode().alarm_changed();
    return left <= 0 ? 0 : static_cast<long>((left + 999'999'999) / 1'000'000'000);
}

Answer sys_setitimer(Task& t, int which, UserAddress value, UserAddress old) {
    if (which == 1 || which == 2) return Fail(Error::Unsupported); // CPU-time timers
    if (which != 0) return Fail(Error::InvalidArgument);
    IntervalTimer to = value ? TRY(fetch<IntervalTimer>(t, value)) : IntervalTimer{};
    Nanos first = TRY(from_timeval(to.value)), interval = TRY(from_timeval(to.interval));
    IntervalTimer was;
    {
        Process& p = t.process();
        MutexGuard guard(t.vnode().mutex());
        was = timer_now(p);
        p.alarm_at = first.value ? later(first) : kNever;
        p.alarm_interval = first.value ? interval : Nanos{};
        t.vnode().alarm_changed();
    }
    if (old) TRY(put(t, old, was));
    return 0;
}

Answer sys_getitimer(Task& t, int which, UserAddress to) {
    if (which != 0) return Fail(Error::InvalidArgument);
    IntervalTimer now;
    {
        MutexGuard guard(t.vnode().mutex());
        now = timer_now(t.process());
    }
    TRY(put(t, to, now));
    return 0;
}

} // namespace tessera::syscalls
