// poll and select over one core: look at everything, sleep until something in the vNode changes.
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

struct PollFd {
    int32_t fd;
    uint16_t events, result;
};

// Fills result; returns how many are not zero. deadline in the past: does not sleep.
Answer poll_all(Task& t, std::span<PollFd> fds, Nanos deadline) {
    Vnode& v = t.vnode();
    for (;;) {
        uint64_t seen = v.poll_generation();
        long ready = 0;
        for (PollFd& f : fds) {
            f.result = 0;
            if (f.fd < 0) continue;
            auto d = descriptor(t, f.fd);
            uint16_t now = d ? (*d)->poll() : kPollInvalid;
            if (now & kPollIn) now |= kPollReadNormal;
            if (now & kPollOut) now |= kPollWriteNormal;
            f.result = now & (f.events | kPollError | kPollHangup | kPollInvalid);
            ready += f.result != 0;
        }
        if (ready || deadline <= Thread::now()) return ready;
        Result<void> r = v.wait_poll(seen, deadline);
        if (!r && r.error() != Error::Timeout) return Fail(r.error());
    }
}

Result<std::vector<PollFd>> fetch_fds(Task& t, UserAddress from, uint64_t count) {
    if (count > DescriptorTable::kMost) return Fail(Error::InvalidArgument);
    std::vector<PollFd> v(count);
    TRY(copy_in(t, from, std::as_writable_bytes(std::span(v))));
    return v;
}

Answer finish_poll(Task& t, std::vector<PollFd>& v, UserAddress to, Nanos deadline) {
    long n = TRY(poll_all(t, v, deadline));
    TRY(copy_out(t, to, std::as_bytes(std::span(v))));
    return n;
}

Result<void> swap_mask(Task& t, UserAddress set) {
    SignalSet mask = TRY(fetch<SignalSet>(t, set)) & ~kUnblockable;
    MutexGuard guard(t.vnode().mutex());
    t.saved_blocked = t.blocked;
    t.restore_blocked = true;
    t.blocked = mask;
    // Something that was blocked may have become deliverable: the sleep must end at once.
    if ((t.pending.set() | t.process().pending.set()) & ~mask)
        t.thread->kick(kernel::KickKind::Signal);
    return {};
}

Answer select_all(Task& t, int count, std::array<UserAddress, 3> sets, Nanos deadline) {
    if (count < 0 || count > DescriptorTable::kMost) return Fail(Error::InvalidArgument);
    size_t words = (static_cast<size_t>(count) + 63) / 64;
    constexpr uint16_t kEvents[3] = {kPollIn | kPollHangup | kPollError, kPollOut | kPollError,
                                     kPollPriority};
    std::array<std::vector<uint64_t>, 3> bits;
    for (int i = 0; i < 3; i++) {
        bits[i].resize(words);
        if (sets[i]) TRY(copy_in(t, sets[i], std::as_writable_bytes(std::span(bits[i]))));
    }
    std::vector<PollFd> v;
    for (int fd = 0; fd < count; fd++) {
        uint16_t events = 0;
        for (int i = 0; i < 3; i++)
            if (bits[i][fd / 64] >> (fd % 64) & 1) events |= kEvents[i];
        if (!events) continue;
        TRY(descriptor(t, fd)); // EBADF for the whole call
        v.push_back({fd, events, 0});
    }
    TRY(poll_all(t, v, deadline));
    long n = 0;
    std::array<std::vector<uint64_t>, 3> out;
    for (auto& o : out)
        o.resize(words);
    for (const PollFd& f : v) {
        for (int i = 0; i < 3; i++) {
            uint64_t bit = 1ull << (f.fd % 64);
            if (!(bits[i][f.fd / 64] & bit) || !(f.result & kEvents[i])) continue;
            out[i][f.fd / 64] |= bit;
            n++;
        }
    }
    for (int i = 0; i < 3; i++)
        if (sets[i]) TRY(copy_out(t, sets[i], std::as_bytes(std::span(out[i]))));
    return n;
}

} // namespace

Answer sys_poll(Task& t, UserAddress fds, uint64_t count, int timeout_ms) {
    auto v = TRY(fetch_fds(t, fds, count));
    Nanos deadline = keep_deadline(t, timeout_ms < 0 ? kNever : later(milliseconds(timeout_ms)));
    return finish_poll(t, v, fds, deadline);
}

Answer sys_ppoll(Task& t, UserAddress fds, uint64_t count, UserAddress timeout, UserAddress mask,
                 uint64_t size) {
    auto v = TRY(fetch_fds(t, fds, count));
    Nanos d = timeout ? TRY(duration(TRY(fetch<TimeSpec>(t, timeout)))) : kNever;
    if (mask && size != 8) return Fail(Error::InvalidArgument);
    if (mask) TRY(swap_mask(t, mask));
    return finish_poll(t, v, fds, keep_deadline(t, d == kNever ? kNever : later(d)));
}

Answer sys_select(Task& t, int count, UserAddress in, UserAddress out, UserAddress except,
                  UserAddress timeout) {
    Nanos d = kNever;
    if (timeout) {
        TimeVal v = TRY(fetch<TimeVal>(t, timeout));
        if (v.micros < 0 || v.seconds < 0) return Fail(Error::InvalidArgument);
        d = TRY(duration({v.seconds + v.micros / 1'000'000, v.micros % 1'000'000 * 1000}));
    }
    Nanos deadline = keep_deadline(t, d == kNever ? kNever : later(d));
    Answer n = select_all(t, count, {in, out, except}, deadline);
    if (timeout && n) // Linux tells what was left
        TRY(put(t, timeout, to_timeval(std::max<int64_t>(0, (deadline - Thread::now()).value))));
    return n;
}

Answer sys_pselect6(Task& t, int count, UserAddress in, UserAddress out, UserAddress except,
                    UserAddress timeout, UserAddress mask) {
    Nanos d = timeout ? TRY(duration(TRY(fetch<TimeSpec>(t, timeout)))) : kNever;
    if (mask) {
        struct Argument {
            UserAddress set;
            uint64_t size;
        } a = TRY(fetch<Argument>(t, mask));
        if (a.set && a.size != 8) return Fail(Error::InvalidArgument);
        if (a.set) TRY(swap_mask(t, a.set));
    }
    return select_all(t, count, {in, out, except},
                      keep_deadline(t, d == kNever ? kNever : later(d)));
}

} // namespace tessera::syscalls
