// open, close, dup, fcntl, pipe, ioctl.
#include "monitors/process/posix/fs/store_fs.hpp"
#include "monitors/process/posix/pipe/pipe.hpp"
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

constexpr uint32_t kKept = kOpenAccessMask | kOpenAppend | kOpenNonBlock | kOpenDsync | kOpenSync |
                           kOpenDirect | kOpenNoAtime | kOpenPath | kOpenDirectory | kOpenNoTty;

Result<Ref<Description>> open_file(Task& t, int at, const std::string& path, uint32_t flags,
                                   uint32_t mode) {
    Process& p = t.process();
    Vnode& v = t.vnode();
    PathContext c = TRY(path_context(t, at, path));
    bool create = flags & kOpenCreate, exclusive = create && (flags & kOpenExclusive);
    LastLink last = (flags & kOpenNoFollow) || exclusive ? LastLink::Keep : LastLink::Follow;
    bool made = false;
    Resolved r = TRY(resolve(v.mounts(), c, path, last));
    if (r.description) { // through /proc/self/fd: files are opened anew, pipes and streams shared
        if (!r.description->where()) return r.description;
        r.at = r.description->where();
        r.description = nullptr;
    }
    if (!r.exists) {
        if (!create || (flags & kOpenPath)) return Fail(Error::NotFound);
        if (r.must_be_directory) return Fail(Error::IsDirectory);
        uint16_t bits = static_cast<uint16_t>(mode & ~p.umask & 07777);
        r.attributes = TRY(r.parent.fs->create(c.who, r.parent.file, r.name, FileType::Regular,
                                               bits, 0, exclusive));
        r.at = r.parent;
        r.at.file = r.attributes.file;
        r.at.path = r.parent.path == "/" ? std::string("/") + r.name : r.parent.path + "/" + r.name;
        made = true;
    } else if (exclusive) {
        return Fail(Error::Exists);
    }
    const Attributes& a = r.attributes;
    if (a.type == FileType::Symlink && !(flags & kOpenPath)) return Fail(Error::TooManyLinks);
    bool directory = a.type == FileType::Directory;
    if ((flags & kOpenDirectory) && !directory) return Fail(Error::NotDirectory);
    if (flags & kOpenPath)
        return Ref<Description>(make_ref<PathFile>(v, flags & (kOpenPath | kOpenDirectory), r.at));
    uint32_t access = flags & kOpenAccessMask;
    bool writes = access == kOpenWrite || access == kOpenReadWrite;
    if (directory && (writes || create)) return Fail(Error::IsDirectory);
    uint32_t want = (access != kOpenWrite ? kAccessRead : 0) |
                    (writes || (flags & kOpenTruncate) ? kAccessWrite : 0);
    if (!made && !permits(a, c.who, want)) return Fail(Error::AccessDenied);
    if (!made && (flags & kOpenTruncate) && a.type == FileType::Regular && a.size)
        r.attributes = TRY(r.at.fs->change(c.who, r.at.file, {.set_size = true, .size = 0}));
    return r.at.fs->open(c.who, r.at, r.attributes, flags & kKept);
}

} // namespace

Answer sys_openat(Task& t, int at, UserAddress from, uint32_t flags, uint32_t mode) {
    std::string path = TRY(fetch_path(t, from));
    if ((flags & kOpenTmpFile) == kOpenTmpFile) return Fail(Error::Unsupported);
    Ref<Description> d = TRY(open_file(t, at, path, flags, mode));
    return TRY(t.process().descriptors->add(d, flags & kOpenCloseOnExec, descriptor_limit(t)));
}

Answer sys_open(Task& t, UserAddress path, uint32_t flags, uint32_t mode) {
    return sys_openat(t, kAtCwd, path, flags, mode);
}

Answer sys_creat(Task& t, UserAddress path, uint32_t mode) {
    return sys_openat(t, kAtCwd, path, kOpenWrite | kOpenCreate | kOpenTruncate, mode);
}

Answer sys_close(Task& t, int fd) {
    Ref<Description> d = TRY(descriptor(t, fd));
    TRY(t.process().descriptors->close(fd));
    TRY(d->closing());
    return 0;
}

Answer sys_close_range(Task& t, uint32_t first, uint32_t last, uint32_t flags) {
    if (first > last || (flags & ~4u)) return Fail(Error::InvalidArgument);
    t.process().descriptors->close_range(first, last, flags & 4);
    return 0;
}

Answer sys_dup(Task& t, int fd) {
    Ref<Description> d = TRY(descriptor(t, fd));
    return TRY(t.process().descriptors->add(d, false, descriptor_limit(t)));
}

Answer sys_dup2(Task& t, int from, int to) {
    Ref<Description> d = TRY(descriptor(t, from));
    if (from == to) return to;
    TRY(t.process().descriptors->put(to, d, false, descriptor_limit(t)));
    return to;
}

Answer sys_dup3(Task& t, int from, int to, uint32_t flags) {
    if (from == to || (flags & ~kOpenCloseOnExec)) return Fail(Error::InvalidArgument);
    Ref<Description> d = TRY(descriptor(t, from));
    TRY(t.process().descriptors->put(to, d, flags & kOpenCloseOnExec, descriptor_limit(t)));
    return to;
}

Answer sys_fcntl(Task& t, int fd, int command, uint64_t argument) {
    Ref<Description> d = TRY(descriptor(t, fd));
    DescriptorTable& table = *t.process().descriptors;
    constexpr uint32_t kChangeable = kOpenAppend | kOpenNonBlock | kOpenDirect | kOpenNoAtime;
    switch (command) {
        case 0:      // F_DUPFD
        case 1030: { // F_DUPFD_CLOEXEC
            if (argument >= static_cast<uint64_t>(descriptor_limit(t)))
                return Fail(Error::InvalidArgument);
            return TRY(
                table.add(d, command == 1030, descriptor_limit(t), static_cast<int>(argument)));
        }
        case 1:
            return TRY(table.close_on_exec(fd)) ? 1 : 0;
        case 2:
            TRY(table.set_close_on_exec(fd, argument & 1));
            return 0;
        case 3:
            return static_cast<long>(d->flags() | kOpenLargeFile);
        case 4:
            d->set_flags((d->flags() & ~kChangeable) |
                         (static_cast<uint32_t>(argument) & kChangeable));
            return 0;
        case 5: { // F_GETLK: locks are refused, so nobody holds one
            if (!d->bulk()) return Fail(Error::InvalidArgument);
            TRY(put<int16_t>(t, argument, 2));
            return 0;
        }
        case 1032: // F_GETPIPE_SZ
            if (d->kind() != ObjectKind::PipeEnd) return Fail(Error::BadHandle);
            return static_cast<long>(Pipe::kCapacity);
        default:
            return Fail(Error::InvalidArgument);
    }
}

Answer sys_pipe2(Task& t, UserAddress to, uint32_t flags) {
    if (flags & ~(kOpenCloseOnExec | kOpenNonBlock | kOpenDirect))
        return Fail(Error::InvalidArgument);
    Vnode& v = t.vnode();
    auto pipe = make_ref<Pipe>(v);
    uint32_t keep = flags & kOpenNonBlock;
    Ref<Description> in = make_ref<PipeEnd>(v, pipe, kOpenRead | keep);
    Ref<Description> out = make_ref<PipeEnd>(v, pipe, kOpenWrite | keep);
    DescriptorTable& table = *t.process().descriptors;
    int fds[2];
    fds[0] = TRY(table.add(in, flags & kOpenCloseOnExec, descriptor_limit(t)));
    Result<int> second = table.add(out, flags & kOpenCloseOnExec, descriptor_limit(t));
    Result<void> told = second ? (fds[1] = *second, copy_out(t, to, std::as_bytes(std::span(fds))))
                               : Result<void>(Fail(second.error()));
    if (told) return 0;
    (void)table.close(fds[0]);
    if (second) (void)table.close(fds[1]);
    return Fail(told.error());
}

Answer sys_pipe(Task& t, UserAddress to) {
    return sys_pipe2(t, to, 0);
}

namespace {

Answer terminal_ioctl(Task& t, Terminal& tty, uint32_t command, UserAddress argument) {
    switch (command) {
        case kTcgets:
            TRY(put(t, argument, tty.termios()));
            return 0;
        case kTcsets:
        case kTcsetsw:
        case kTcsetsf: {
            Termios to = TRY(fetch<Termios>(t, argument));
            TRY(tty.set_termios(&t, to, command == kTcsetsf));
            return 0;
        }
        case kTiocgwinsz:
            TRY(put(t, argument, tty.size()));
            return 0;
        case kTiocswinsz:
            tty.set_size(TRY(fetch<WindowSize>(t, argument)));
            return 0;
        case kTiocgpgrp: {
            Pid group = TRY(tty.foreground(t));
            TRY(put(t, argument, group.value));
            return 0;
        }
        case kTiocspgrp: {
            int32_t group = TRY(fetch<int32_t>(t, argument));
            if (group < 0) return Fail(Error::InvalidArgument);
            TRY(tty.set_foreground(t, Pid(static_cast<uint32_t>(group))));
            return 0;
        }
        case kTiocgsid: {
            Pid s = TRY(tty.session_of(t));
            TRY(put(t, argument, s.value));
            return 0;
        }
        case kTiocsctty:
            TRY(tty.make_controlling(t, argument == 1 && t.process().ids.euid == 0));
            return 0;
        case kTiocnotty:
            TRY(tty.disown(t));
            return 0;
        case kTcflsh:
            if (argument > 2) return Fail(Error::InvalidArgument);
            if (argument != 1) tty.flush_input();
            return 0;
        case kTcsbrk:
        case kTcxonc:
            return 0; // output leaves in order; there is no line to break or hold
        case kTiocoutq:
            TRY(put<int32_t>(t, argument, 0));
            return 0;
        case kTiocsti: {
            if (t.process().ids.euid != 0) return Fail(Error::NotPermitted);
            std::byte c = TRY(fetch<std::byte>(t, argument));
            tty.input({&c, 1});
            return 0;
        }
        default:
            return Fail(Error::NotTty);
    }
}

} // namespace

Answer sys_ioctl(Task& t, int fd, uint32_t command, UserAddress argument) {
    Ref<Description> d = TRY(descriptor(t, fd));
    switch (command) {
        case kFionclex:
            TRY(t.process().descriptors->set_close_on_exec(fd, false));
            return 0;
        case kFioclex:
            TRY(t.process().descriptors->set_close_on_exec(fd, true));
            return 0;
        case kFionbio: {
            int32_t on = TRY(fetch<int32_t>(t, argument));
            d->set_flags(on ? d->flags() | kOpenNonBlock : d->flags() & ~kOpenNonBlock);
            return 0;
        }
        case kFionread: {
            size_t n = d->bytes_ready();
            if (d->bulk()) {
                uint64_t size = TRY(d->attributes()).size;
                uint64_t at = static_cast<uint64_t>(TRY(d->seek(0, kSeekCurrent)));
                n = size > at ? size - at : 0;
            }
            TRY(put<int32_t>(t, argument, static_cast<int32_t>(n)));
            return 0;
        }
        default:
            break;
    }
    if (Terminal* tty = d->terminal()) return terminal_ioctl(t, *tty, command, argument);
    return Fail(Error::NotTty);
}

} // namespace tessera::syscalls
