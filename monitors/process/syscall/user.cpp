#include "monitors/process/syscall/user.hpp"

#include "monitors/process/posix/signal/boundary.hpp"

namespace tessera::syscalls {
namespace {

Result<void> lost_is_bus(Task& t, UserAddress at, Result<void> r) {
    if (r || r.error() == Error::BadAddress || r.error() == Error::Interrupted) return r;
    note_death_reason(t, r.error());
    force_signal(t, {.number = kSigBus, .code = kBusAdrErr, .address = at});
    return Fail(Error::BadAddress);
}

} // namespace

void note_death_reason(Task& t, Error e) {
    const char* why = "memory could not be fetched";
    if (e == Error::Lost || e == Error::Dead)
        why = "memory lost: the mComponent that held it is gone";
    if (e == Error::NoMemory) why = "out of memory: the vNode's quota is used up";
    MutexGuard guard(t.vnode().mutex());
    if (t.process().death_reason.empty()) t.process().death_reason = why;
}

Result<void> copy_in(Task& t, UserAddress from, MutableBytes to) {
    if (to.empty()) return {};
    if (from >= kUserEnd || to.size() > kUserEnd - from) return Fail(Error::BadAddress);
    return lost_is_bus(t, from, t.space().read(from, to));
}

Result<void> copy_out(Task& t, UserAddress to, Bytes from) {
    if (from.empty()) return {};
    if (to >= kUserEnd || from.size() > kUserEnd - to) return Fail(Error::BadAddress);
    return lost_is_bus(t, to, t.space().write(to, from));
}

Result<std::string> fetch_path(Task& t, UserAddress from) {
    if (from >= kUserEnd) return Fail(Error::BadAddress);
    auto r = t.space().read_string(from, 4095);
    if (!r) return Fail(r.error() == Error::TooBig ? Error::NameTooLong : r.error());
    return r;
}

int descriptor_limit(Task& t) {
    uint64_t n = t.process().limits[kLimitFiles].soft;
    return n > DescriptorTable::kMost ? DescriptorTable::kMost : static_cast<int>(n);
}

Result<PathContext> path_context(Task& t, int at, const std::string& path) {
    Process& p = t.process();
    PathContext c;
    {
        MutexGuard guard(t.vnode().mutex());
        c = {p.root, p.cwd, p.credentials()};
    }
    if (at == kAtCwd || (!path.empty() && path[0] == '/')) return c;
    Ref<Description> d = TRY(descriptor(t, at));
    if (!d->where()) return Fail(Error::NotDirectory);
    c.start = d->where();
    return c;
}

Result<Resolved> find(Task& t, int at, const std::string& path, LastLink last) {
    PathContext c = TRY(path_context(t, at, path));
    return resolve_existing(t.vnode().mounts(), c, path, last);
}

Result<Resolved> find_new(Task& t, int at, const std::string& path) {
    PathContext c = TRY(path_context(t, at, path));
    Resolved r = TRY(resolve(t.vnode().mounts(), c, path, LastLink::Keep));
    if (r.exists) return Fail(Error::Exists);
    return r;
}

Result<Resolved> find_entry(Task& t, int at, const std::string& path) {
    PathContext c = TRY(path_context(t, at, path));
    Resolved r = TRY(resolve_existing(t.vnode().mounts(), c, path, LastLink::Keep));
    if (r.name.empty() || r.description) return Fail(Error::Busy); // "/", "." and ".."
    if (t.vnode().mounts().of(*r.at.fs)->covered && r.at.file == r.at.fs->root())
        return Fail(Error::Busy);
    return r;
}

Result<Nanos> duration(TimeSpec s) {
    if (s.seconds < 0 || s.nanos < 0 || s.nanos >= 1'000'000'000)
        return Fail(Error::InvalidArgument);
    if (s.seconds > 1'000'000'000) return Nanos{1'000'000'000'000'000'000};
    return Nanos{s.seconds * 1'000'000'000 + s.nanos};
}

Nanos keep_deadline(Task& t, Nanos fresh) {
    if (t.restart.armed) return t.restart.deadline;
    t.restart = {true, 0, fresh};
    return fresh;
}

Result<std::vector<IoVector>> fetch_vectors(Task& t, UserAddress from, int count) {
    if (count < 0 || count > 1024) return Fail(Error::InvalidArgument);
    std::vector<IoVector> v(static_cast<size_t>(count));
    TRY(copy_in(t, from, std::as_writable_bytes(std::span(v))));
    uint64_t total = 0;
    for (const IoVector& x : v)
        if (x.length > INT64_MAX - total)
            return Fail(Error::InvalidArgument);
        else
            total += x.length;
    return v;
}

} // namespace tessera::syscalls
