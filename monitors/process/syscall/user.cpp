#include "monitors/process/syscall/user.hpp"

#include "base/log.hpp"
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/posix/signal/boundary.hpp"

namespace tessera::syscalls {
namespace {

void set_reason(Task& t, const char* why) {
    MutexGuard guard(t.vnode().mutex());
    if (t.process().death_reason.empty()) t.process().death_reason = why;
}

Result<void> copied(Task& t, UserAddress at, Result<void> r) {
    if (r || r.error() == Error::BadAddress || r.error() == Error::Interrupted) return r;
    page_unavailable(t, at, r.error());
    return Fail(Error::BadAddress);
}

} // namespace

void page_unavailable(Task& t, UserAddress at, Error why) {
    switch (why) {
        case Error::NoMemory:
            t.vnode().counters.out_of_memory_kills++;
            LOG(Warning, "posix", "vNode %u is out of memory: killed %u (%s)", t.vnode().id().value,
                t.process().pid().value, t.process().name.c_str());
            set_reason(t, "out of memory: the vNode's quota is used up");
            begin_exit_group(t.process(), kSigKill);
            return;
        case Error::Lost:
        case Error::Dead:
            set_reason(t, "memory lost: the component that held it is gone");
            break;
        case Error::Io:
        case Error::Timeout:
            set_reason(t, "memory could not be fetched");
            break;
        default:
            break;
    }
    force_signal(t, {.number = kSigBus, .code = kBusAdrErr, .address = at});
}

Result<void> copy_in(Task& t, UserAddress from, MutableBytes to) {
    if (to.empty()) return {};
    if (from >= kUserEnd || to.size() > kUserEnd - from) return Fail(Error::BadAddress);
    return copied(t, from, t.space().read(from, to));
}

Result<void> copy_out(Task& t, UserAddress to, Bytes from) {
    if (from.empty()) return {};
    if (to >= kUserEnd || from.size() > kUserEnd - to) return Fail(Error::BadAddress);
    return copied(t, to, t.space().write(to, from));
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
