// What handlers share: typed copies, paths, descriptors, times.
#pragma once

#include "monitors/process/posix/fs/path.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"
#include "monitors/process/syscall/calls.hpp"

namespace tessera::syscalls {

using namespace tessera::posix;
using kernel::MutexGuard;
using kernel::Thread;

// A mapped page is not to be had: no memory is left (the process is killed), or it is lost or
// cannot be fetched (SIGBUS). The process's death reason says which. In the task's own thread.
void page_unavailable(Task& t, UserAddress at, Error why);

// Memory that is not to be had under a copy ends as under a fault, not in EFAULT (protocols.md
// section 8).
Result<void> copy_in(Task& t, UserAddress from, MutableBytes to);
Result<void> copy_out(Task& t, UserAddress to, Bytes from);

template <typename T>
Result<T> fetch(Task& t, UserAddress from) {
    T v;
    TRY(copy_in(t, from, mutable_bytes_of(v)));
    return v;
}
template <typename T>
Result<void> put(Task& t, UserAddress to, const T& v) {
    return copy_out(t, to, bytes_of(v));
}
Result<std::string> fetch_path(Task& t, UserAddress from); // NameTooLong

inline Result<Ref<Description>> descriptor(Task& t, int fd) {
    return t.process().descriptors->get(fd);
}
int descriptor_limit(Task& t);

// Where a path of an *at call starts. Errors: BadHandle, NotDirectory.
Result<PathContext> path_context(Task& t, int at, const std::string& path);
Result<Resolved> find(Task& t, int at, const std::string& path, LastLink last); // must exist
Result<Resolved> find_new(Task& t, int at, const std::string& path);            // Exists if it does
Result<Resolved> find_entry(Task& t, int at, const std::string& path);          // to remove or move

struct TimeSpec {
    int64_t seconds = 0, nanos = 0;
};
struct TimeVal {
    int64_t seconds = 0, micros = 0;
};
inline TimeSpec to_timespec(int64_t ns) {
    return {ns / 1'000'000'000, ns % 1'000'000'000};
}
inline TimeVal to_timeval(int64_t ns) {
    return {ns / 1'000'000'000, ns % 1'000'000'000 / 1000};
}
// InvalidArgument unless 0 <= nanos < 1e9 and seconds >= 0; saturates.
Result<Nanos> duration(TimeSpec s);
inline Nanos later(Nanos d) {
    Nanos now = Thread::now();
    return d.value > INT64_MAX - now.value ? kNever : now + d;
}
// The deadline of a call that is being restarted, or `fresh` for a new one.
Nanos keep_deadline(Task& t, Nanos fresh);

struct IoVector {
    UserAddress base;
    uint64_t length;
};
Result<std::vector<IoVector>> fetch_vectors(Task& t, UserAddress from, int count);

} // namespace tessera::syscalls
