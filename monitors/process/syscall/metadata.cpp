// stat and its family; modes, owners, times, sizes.
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

struct Stat { // struct stat, asm/stat.h
    uint64_t device, inode, links;
    uint32_t mode, uid, gid, pad;
    uint64_t rdevice;
    int64_t size, block_size, blocks;
    TimeSpec accessed, modified, changed;
    int64_t unused[3];
};
static_assert(sizeof(Stat) == 144);

struct StatxTime {
    int64_t seconds;
    uint32_t nanos;
    int32_t pad;
};
struct Statx { // struct statx, linux/stat.h
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, pad;
    uint64_t inode, size, blocks, attributes_mask;
    StatxTime accessed, born, changed, modified;
    uint32_t rdevice_major, rdevice_minor, device_major_, device_minor_;
    uint64_t mount;
    uint64_t spare[13];
};
static_assert(sizeof(Statx) == 256);

struct StatFs { // struct statfs
    int64_t type, block_size;
    uint64_t blocks, free, available, files, free_files;
    int32_t id[2];
    int64_t name_length, fragment, flags, spare[4];
};
static_assert(sizeof(StatFs) == 120);

uint32_t mode_of(const Attributes& a) {
    static constexpr uint32_t kTypes[] = {0,         kModeRegular, kModeDirectory, kModeLink,
                                          kModeChar, kModeBlock,   kModeFifo,      kModeSocket};
    return kTypes[static_cast<size_t>(a.type) & 7] | a.mode;
}

struct Found {
    Attributes attributes;
    uint32_t device = 0;
    FileSystem* fs = nullptr;
    FileRef file;
    Ref<Description> description;
};

Result<Found> of_descriptor(Task& t, int fd) {
    Ref<Description> d = TRY(descriptor(t, fd));
    Found f{TRY(d->attributes()), 9, d->where().fs, d->where().file, d};
    if (f.fs) f.device = f.fs->device();
    if (d->terminal()) f.device = 5;
    return f;
}

// The rule of every *at call: a path, or the descriptor itself with AT_EMPTY_PATH.
Result<Found> look(Task& t, int at, UserAddress path, uint32_t flags) {
    std::string p = path || !(flags & kAtEmptyPath) ? TRY(fetch_path(t, path)) : std::string();
    if (p.empty() && (flags & kAtEmptyPath)) {
        if (at != kAtCwd) return of_descriptor(t, at);
        p = ".";
    }
    Resolved r =
        TRY(find(t, at, p, flags & kAtSymlinkNoFollow ? LastLink::Keep : LastLink::Follow));
    Found f{r.attributes, 9, r.at.fs, r.at.file, r.description};
    if (r.description && r.description->where()) {
        f.fs = r.description->where().fs;
        f.file = r.description->where().file;
    }
    if (f.fs) f.device = f.fs->device();
    return f;
}

Result<void> put_stat(Task& t, UserAddress to, const Found& f) {
    const Attributes& a = f.attributes;
    Stat s{};
    s.device = f.device;
    s.inode = a.file.id.value;
    s.links = a.links;
    s.mode = mode_of(a);
    s.uid = a.uid;
    s.gid = a.gid;
    s.rdevice = a.device;
    s.size = static_cast<int64_t>(a.size);
    s.block_size = 4096;
    s.blocks = static_cast<int64_t>(a.blocks);
    s.accessed = to_timespec(a.accessed_ns);
    s.modified = to_timespec(a.modified_ns);
    s.changed = to_timespec(a.changed_ns);
    return put(t, to, s);
}

Answer change_found(Task& t, const Found& f, const AttributeChange& c) {
    Credentials who = t.process().credentials();
    if (f.description)
        TRY(f.description->change(who, c));
    else
        TRY(f.fs->change(who, f.file, c));
    return 0;
}

Answer change_mode(Task& t, const Found& f, uint32_t mode) {
    return change_found(t, f, {.set_mode = true, .mode = static_cast<uint16_t>(mode & 07777)});
}

Answer change_owner(Task& t, const Found& f, uint32_t uid, uint32_t gid) {
    return change_found(t, f,
                        {.set_uid = uid != ~0u, .set_gid = gid != ~0u, .uid = uid, .gid = gid});
}

Answer set_times(Task& t, const Found& f, const TimeSpec* times) {
    constexpr int64_t kNow = (1 << 30) - 1, kOmit = (1 << 30) - 2;
    AttributeChange c;
    TimeSpec both_now[2] = {{0, kNow}, {0, kNow}};
    if (!times) times = both_now;
    for (int i = 0; i < 2; i++) {
        const TimeSpec& s = times[i];
        bool& set = i ? c.set_modified : c.set_accessed;
        bool& now = i ? c.modified_now : c.accessed_now;
        if (s.nanos == kOmit) continue;
        if (s.nanos == kNow) {
            now = true;
            continue;
        }
        if (s.nanos < 0 || s.nanos >= 1'000'000'000) return Fail(Error::InvalidArgument);
        set = true;
        (i ? c.modified_ns : c.accessed_ns) = s.seconds * 1'000'000'000 + s.nanos;
    }
    if (!c.set_modified && !c.set_accessed && !c.modified_now && !c.accessed_now) return 0;
    return change_found(t, f, c);
}

Answer check_access(Task& t, int at, UserAddress path, uint32_t mode, uint32_t flags) {
    if (mode & ~7u) return Fail(Error::InvalidArgument);
    std::string p = TRY(fetch_path(t, path));
    PathContext c = TRY(path_context(t, at, p));
    if (!(flags & kAtEaccess)) c.who = t.process().ids.real();
    Resolved r = TRY(resolve_existing(
        t.vnode().mounts(), c, p, flags & kAtSymlinkNoFollow ? LastLink::Keep : LastLink::Follow));
    if (mode && !permits(r.attributes, c.who, mode)) return Fail(Error::AccessDenied);
    return 0;
}

Answer put_statfs(Task& t, UserAddress to, FileSystem* fs) {
    StatFs s{};
    s.block_size = s.fragment = 4096;
    s.name_length = 255;
    if (fs) {
        FileSystemUse u = TRY(fs->use());
        s.type = fs->magic();
        s.blocks = u.total_bytes / 4096;
        s.free = s.available = u.free_bytes / 4096;
        s.files = u.total_files;
        s.free_files = u.free_files;
        s.id[0] = static_cast<int32_t>(fs->device());
    } else {
        s.type = 0x50495045; // pipefs
    }
    TRY(put(t, to, s));
    return 0;
}

} // namespace

Answer sys_newfstatat(Task& t, int at, UserAddress path, UserAddress to, uint32_t flags) {
    Found f = TRY(look(t, at, path, flags));
    TRY(put_stat(t, to, f));
    return 0;
}
Answer sys_stat(Task& t, UserAddress path, UserAddress to) {
    return sys_newfstatat(t, kAtCwd, path, to, 0);
}
Answer sys_lstat(Task& t, UserAddress path, UserAddress to) {
    return sys_newfstatat(t, kAtCwd, path, to, kAtSymlinkNoFollow);
}
Answer sys_fstat(Task& t, int fd, UserAddress to) {
    Found f = TRY(of_descriptor(t, fd));
    TRY(put_stat(t, to, f));
    return 0;
}

Answer sys_statx(Task& t, int at, UserAddress path, uint32_t flags, uint32_t, UserAddress to) {
    Found f = TRY(look(t, at, path, flags));
    const Attributes& a = f.attributes;
    Statx s{};
    s.mask = 0x7ff; // the basic set
    s.block_size = 4096;
    s.links = a.links;
    s.uid = a.uid;
    s.gid = a.gid;
    s.mode = static_cast<uint16_t>(mode_of(a));
    s.inode = a.file.id.value;
    s.size = a.size;
    s.blocks = a.blocks;
    auto time = [](int64_t ns) {
        TimeSpec x = to_timespec(ns);
        return StatxTime{x.seconds, static_cast<uint32_t>(x.nanos), 0};
    };
    s.accessed = time(a.accessed_ns);
    s.changed = time(a.changed_ns);
    s.modified = time(a.modified_ns);
    s.rdevice_major = device_major(a.device);
    s.rdevice_minor = device_minor(a.device);
    s.device_minor_ = f.device;
    TRY(put(t, to, s));
    return 0;
}

Answer sys_access(Task& t, UserAddress path, uint32_t mode) {
    return check_access(t, kAtCwd, path, mode, 0);
}
Answer sys_faccessat(Task& t, int at, UserAddress path, uint32_t mode) {
    return check_access(t, at, path, mode, 0);
}
Answer sys_faccessat2(Task& t, int at, UserAddress path, uint32_t mode, uint32_t flags) {
    return check_access(t, at, path, mode, flags);
}

Answer sys_truncate(Task& t, UserAddress path, int64_t length) {
    if (length < 0) return Fail(Error::InvalidArgument);
    Found f = TRY(look(t, kAtCwd, path, 0));
    if (f.attributes.type == FileType::Directory) return Fail(Error::IsDirectory);
    if (!permits(f.attributes, t.process().credentials(), kAccessWrite))
        return Fail(Error::AccessDenied);
    return change_found(t, f, {.set_size = true, .size = static_cast<uint64_t>(length)});
}

Answer sys_chmod(Task& t, UserAddress path, uint32_t mode) {
    return change_mode(t, TRY(look(t, kAtCwd, path, 0)), mode);
}
Answer sys_fchmod(Task& t, int fd, uint32_t mode) {
    return change_mode(t, TRY(of_descriptor(t, fd)), mode);
}
Answer sys_fchmodat(Task& t, int at, UserAddress path, uint32_t mode) {
    return change_mode(t, TRY(look(t, at, path, 0)), mode);
}
Answer sys_chown(Task& t, UserAddress path, uint32_t uid, uint32_t gid) {
    return change_owner(t, TRY(look(t, kAtCwd, path, 0)), uid, gid);
}
Answer sys_lchown(Task& t, UserAddress path, uint32_t uid, uint32_t gid) {
    return change_owner(t, TRY(look(t, kAtCwd, path, kAtSymlinkNoFollow)), uid, gid);
}
Answer sys_fchown(Task& t, int fd, uint32_t uid, uint32_t gid) {
    return change_owner(t, TRY(of_descriptor(t, fd)), uid, gid);
}
Answer sys_fchownat(Task& t, int at, UserAddress path, uint32_t uid, uint32_t gid, uint32_t flags) {
    return change_owner(t, TRY(look(t, at, path, flags)), uid, gid);
}

Answer sys_utimensat(Task& t, int at, UserAddress path, UserAddress times, uint32_t flags) {
    Found f = path ? TRY(look(t, at, path, flags)) : TRY(of_descriptor(t, at));
    if (!times) return set_times(t, f, nullptr);
    auto v = TRY((fetch<std::array<TimeSpec, 2>>(t, times)));
    return set_times(t, f, v.data());
}

Answer sys_futimesat(Task& t, int at, UserAddress path, UserAddress times) {
    Found f = TRY(look(t, at, path, 0));
    if (!times) return set_times(t, f, nullptr);
    auto v = TRY((fetch<std::array<TimeVal, 2>>(t, times)));
    TimeSpec s[2];
    for (int i = 0; i < 2; i++) {
        if (v[i].micros < 0 || v[i].micros >= 1'000'000) return Fail(Error::InvalidArgument);
        s[i] = {v[i].seconds, v[i].micros * 1000};
    }
    return set_times(t, f, s);
}
Answer sys_utimes(Task& t, UserAddress path, UserAddress times) {
    return sys_futimesat(t, kAtCwd, path, times);
}
Answer sys_utime(Task& t, UserAddress path, UserAddress times) {
    Found f = TRY(look(t, kAtCwd, path, 0));
    if (!times) return set_times(t, f, nullptr);
    auto v = TRY((fetch<std::array<int64_t, 2>>(t, times)));
    TimeSpec s[2] = {{v[0], 0}, {v[1], 0}};
    return set_times(t, f, s);
}

Answer sys_statfs(Task& t, UserAddress path, UserAddress to) {
    Found f = TRY(look(t, kAtCwd, path, 0));
    return put_statfs(t, to, f.fs);
}
Answer sys_fstatfs(Task& t, int fd, UserAddress to) {
    Found f = TRY(of_descriptor(t, fd));
    return put_statfs(t, to, f.fs);
}

Answer sys_umask(Task& t, uint32_t mask) {
    uint32_t old = t.process().umask;
    t.process().umask = mask & 0777;
    return static_cast<long>(old);
}

} // namespace tessera::syscalls
