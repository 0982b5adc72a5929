// Reading and writing: kernel buffers in between, so that no lock is held over a user copy.
#include "monitors/process/posix/signal/boundary.hpp"
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

constexpr size_t kBuffer = 64 * 1024;

MutableBytes buffer(Task& t, uint64_t wanted) {
    size_t n = wanted < kBuffer ? wanted : kBuffer;
    if (t.buffer.size() < n) t.buffer.resize(n);
    return MutableBytes(t.buffer).first(n);
}

Error broken_pipe(Task& t, Error e) {
    if (e != Error::BrokenPipe) return e;
    MutexGuard guard(t.vnode().mutex());
    t.vnode().send_to_task(t, {.number = kSigPipe, .pid = t.process().pid().value});
    return e;
}

// offset null: at the description's own.
Answer read_some(Task& t, Description& d, UserAddress to, uint64_t length, uint64_t* offset) {
    if (!d.readable()) return Fail(Error::BadHandle);
    if (length > 0x7ffff000) length = 0x7ffff000;
    uint64_t done = 0;
    do {
        MutableBytes b = buffer(t, length - done);
        Result<size_t> n = offset ? d.read_at(*offset + done, b) : d.read(b);
        if (!n) {
            if (done) break;
            return Fail(n.error());
        }
        Result<void> copied = copy_out(t, to + done, b.first(*n));
        if (!copied) {
            if (done) break;
            return Fail(copied.error());
        }
        done += *n;
        if (*n < b.size() || !d.bulk() || t.thread->killed()) break;
    } while (done < length);
    return static_cast<long>(done);
}

Answer write_some(Task& t, Description& d, UserAddress from, uint64_t length, uint64_t* offset) {
    if (!d.writable()) return Fail(Error::BadHandle);
    if (length > 0x7ffff000) length = 0x7ffff000;
    uint64_t done = 0;
    do {
        MutableBytes b = buffer(t, length - done);
        Result<void> copied = copy_in(t, from + done, b);
        if (!copied) {
            if (done) break;
            return Fail(copied.error());
        }
        Result<size_t> n = offset ? d.write_at(*offset + done, b) : d.write(b);
        if (!n) {
            if (done) break;
            return Fail(broken_pipe(t, n.error()));
        }
        done += *n;
        if (*n < b.size() || t.thread->killed()) break;
    } while (done < length);
    return static_cast<long>(done);
}

template <typename Each>
Answer vectored(Task& t, UserAddress vectors, int count, Each&& each) {
    auto v = TRY(fetch_vectors(t, vectors, count));
    long total = 0;
    for (const IoVector& x : v) {
        if (x.length == 0) continue;
        Answer n = each(x, static_cast<uint64_t>(total));
        if (!n) {
            if (total) break;
            return n;
        }
        total += *n;
        if (static_cast<uint64_t>(*n) < x.length) break;
    }
    return total;
}

} // namespace

Answer sys_read(Task& t, int fd, UserAddress to, uint64_t length) {
    Ref<Description> d = TRY(descriptor(t, fd));
    return read_some(t, *d, to, length, nullptr);
}

Answer sys_write(Task& t, int fd, UserAddress from, uint64_t length) {
    Ref<Description> d = TRY(descriptor(t, fd));
    return write_some(t, *d, from, length, nullptr);
}

Answer sys_pread64(Task& t, int fd, UserAddress to, uint64_t length, int64_t offset) {
    Ref<Description> d = TRY(descriptor(t, fd));
    if (offset < 0) return Fail(Error::InvalidArgument);
    uint64_t at = static_cast<uint64_t>(offset);
    return read_some(t, *d, to, length, &at);
}

Answer sys_pwrite64(Task& t, int fd, UserAddress from, uint64_t length, int64_t offset) {
    Ref<Description> d = TRY(descriptor(t, fd));
    if (offset < 0) return Fail(Error::InvalidArgument);
    uint64_t at = static_cast<uint64_t>(offset);
    return write_some(t, *d, from, length, &at);
}

Answer sys_readv(Task& t, int fd, UserAddress vectors, int count) {
    Ref<Description> d = TRY(descriptor(t, fd));
    return vectored(t, vectors, count, [&](const IoVector& x, uint64_t) {
        return read_some(t, *d, x.base, x.length, nullptr);
    });
}

Answer sys_writev(Task& t, int fd, UserAddress vectors, int count) {
    Ref<Description> d = TRY(descriptor(t, fd));
    return vectored(t, vectors, count, [&](const IoVector& x, uint64_t) {
        return write_some(t, *d, x.base, x.length, nullptr);
    });
}

Answer sys_preadv(Task& t, int fd, UserAddress vectors, int count, int64_t offset) {
    Ref<Description> d = TRY(descriptor(t, fd));
    if (offset < 0) return Fail(Error::InvalidArgument);
    return vectored(t, vectors, count, [&](const IoVector& x, uint64_t done) {
        uint64_t at = static_cast<uint64_t>(offset) + done;
        return read_some(t, *d, x.base, x.length, &at);
    });
}

Answer sys_pwritev(Task& t, int fd, UserAddress vectors, int count, int64_t offset) {
    Ref<Description> d = TRY(descriptor(t, fd));
    if (offset < 0) return Fail(Error::InvalidArgument);
    return vectored(t, vectors, count, [&](const IoVector& x, uint64_t done) {
        uint64_t at = static_cast<uint64_t>(offset) + done;
        return write_some(t, *d, x.base, x.length, &at);
    });
}

Answer sys_lseek(Task& t, int fd, int64_t offset, int whence) {
    Ref<Description> d = TRY(descriptor(t, fd));
    return static_cast<long>(TRY(d->seek(offset, whence)));
}

Answer sys_sendfile(Task& t, int out, int in, UserAddress offset, uint64_t count) {
    Ref<Description> to = TRY(descriptor(t, out));
    Ref<Description> from = TRY(descriptor(t, in));
    if (!to->writable() || !from->readable()) return Fail(Error::BadHandle);
    if (!from->bulk()) return Fail(Error::InvalidArgument);
    int64_t at = offset ? TRY(fetch<int64_t>(t, offset)) : 0;
    if (at < 0) return Fail(Error::InvalidArgument);
    uint64_t done = 0;
    while (done < count && !t.thread->killed()) {
        MutableBytes b = buffer(t, count - done);
        Result<size_t> n =
            offset ? from->read_at(static_cast<uint64_t>(at) + done, b) : from->read(b);
        if (!n && done == 0) return Fail(n.error());
        if (!n || *n == 0) break;
        Result<size_t> w = to->write(b.first(*n));
        size_t written = w ? *w : 0;
        if (written < *n && !offset)
            (void)from->seek(-static_cast<int64_t>(*n - written), kSeekCurrent);
        if (!w && done == 0) return Fail(broken_pipe(t, w.error()));
        done += written;
        if (written < *n) break;
    }
    if (offset) TRY(put<int64_t>(t, offset, at + static_cast<int64_t>(done)));
    return static_cast<long>(done);
}

Answer sys_fsync(Task& t, int fd) {
    Ref<Description> d = TRY(descriptor(t, fd));
    TRY(d->sync(false));
    return 0;
}

Answer sys_fdatasync(Task& t, int fd) {
    Ref<Description> d = TRY(descriptor(t, fd));
    TRY(d->sync(true));
    return 0;
}

Answer sys_sync(Task& t) {
    for (const Mount& m : t.vnode().mounts().all())
        (void)m.fs->sync(); // sync(2) reports nothing
    return 0;
}

Answer sys_syncfs(Task& t, int fd) {
    Ref<Description> d = TRY(descriptor(t, fd));
    if (d->where()) TRY(d->where().fs->sync());
    return 0;
}

Answer sys_ftruncate(Task& t, int fd, int64_t length) {
    Ref<Description> d = TRY(descriptor(t, fd));
    if (length < 0 || !d->writable()) return Fail(Error::InvalidArgument);
    // The right to write was checked at open.
    AttributeChange c{.set_size = true, .size = static_cast<uint64_t>(length)};
    TRY(d->change({}, c));
    return 0;
}

// No space is set aside: the C library then writes to every block of the range instead.
Answer sys_fallocate(Task& t, int fd, int, int64_t, int64_t) {
    Ref<Description> d = TRY(descriptor(t, fd));
    if (!d->writable()) return Fail(Error::BadHandle);
    return Fail(Error::Unsupported);
}

Answer sys_fadvise64(Task& t, int fd, int64_t, int64_t, int advice) {
    Ref<Description> d = TRY(descriptor(t, fd));
    if (!d->bulk()) return Fail(Error::NotSeekable);
    if (advice < 0 || advice > 5) return Fail(Error::InvalidArgument);
    return 0; // advice; following it is optional
}

Answer sys_getdents64(Task& t, int fd, UserAddress to, uint32_t length) {
    Ref<Description> d = TRY(descriptor(t, fd));
    std::vector<std::byte> out;
    size_t room = length < 65536 ? length : 65536;
    bool too_small = false;
    TRY(d->entries([&](const DirectoryEntry& e, uint64_t next) {
        size_t size = align_up(19 + e.name.size() + 1, 8);
        if (out.size() + size > room) {
            too_small = out.empty();
            return false;
        }
        static constexpr uint8_t kTypes[] = {0, 8, 4, 10, 2, 6, 1, 12};
        size_t at = out.size();
        out.resize(at + size);
        MutableBytes b = MutableBytes(out).subspan(at);
        store(b, e.id.value);
        store(b.subspan(8), next);
        store(b.subspan(16), static_cast<uint16_t>(size));
        b[18] = std::byte{kTypes[static_cast<size_t>(e.type) & 7]};
        std::memcpy(b.data() + 19, e.name.data(), e.name.size());
        return true;
    }));
    if (too_small) return Fail(Error::InvalidArgument);
    TRY(copy_out(t, to, out));
    return static_cast<long>(out.size());
}

} // namespace tessera::syscalls
