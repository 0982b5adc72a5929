// Directories, links, renames, the working directory.
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

Answer make_node(Task& t, int at, UserAddress path, FileType type, uint32_t mode, uint32_t device) {
    std::string p = TRY(fetch_path(t, path));
    Resolved r = TRY(find_new(t, at, p));
    if (r.must_be_directory && type != FileType::Directory) return Fail(Error::NotFound);
    Process& me = t.process();
    uint16_t bits = static_cast<uint16_t>(mode & ~me.umask & 07777);
    TRY(r.parent.fs->create(me.credentials(), r.parent.file, r.name, type, bits, device, true));
    return 0;
}

Answer remove(Task& t, int at, UserAddress path, bool directory) {
    std::string p = TRY(fetch_path(t, path));
    size_t end = p.find_last_not_of('/');
    std::string_view last = std::string_view(p).substr(0, end + 1);
    last = last.substr(last.rfind('/') + 1);
    if (directory && last == ".") return Fail(Error::InvalidArgument);
    if (directory && last == "..") return Fail(Error::NotEmpty);
    Resolved r = TRY(find_entry(t, at, p));
    bool is_directory = r.attributes.type == FileType::Directory;
    if (!directory && is_directory) return Fail(Error::IsDirectory);
    if (directory && !is_directory) return Fail(Error::NotDirectory);
    TRY(r.parent.fs->unlink(t.process().credentials(), r.parent.file, r.name, directory));
    return 0;
}

Answer set_directory(Task& t, const Location& l, bool root) {
    MutexGuard guard(t.vnode().mutex());
    (root ? t.process().root : t.process().cwd) = l;
    return 0;
}

} // namespace

Answer sys_mkdirat(Task& t, int at, UserAddress path, uint32_t mode) {
    return make_node(t, at, path, FileType::Directory, mode, 0);
}
Answer sys_mkdir(Task& t, UserAddress path, uint32_t mode) {
    return sys_mkdirat(t, kAtCwd, path, mode);
}

Answer sys_mknodat(Task& t, int at, UserAddress path, uint32_t mode, uint64_t device) {
    FileType type;
    switch (mode & kModeTypeMask) {
        case 0:
        case kModeRegular:
            type = FileType::Regular;
            break;
        case kModeFifo:
            type = FileType::Fifo;
            break;
        case kModeSocket:
            type = FileType::Socket;
            break;
        case kModeChar:
            type = FileType::CharDevice;
            break;
        case kModeBlock:
            type = FileType::BlockDevice;
            break;
        default:
            return Fail(Error::InvalidArgument);
    }
    bool is_device = type == FileType::CharDevice || type == FileType::BlockDevice;
    if (is_device && t.process().ids.euid != 0) return Fail(Error::NotPermitted);
    return make_node(t, at, path, type, mode, is_device ? static_cast<uint32_t>(device) : 0);
}
Answer sys_mknod(Task& t, UserAddress path, uint32_t mode, uint64_t device) {
    return sys_mknodat(t, kAtCwd, path, mode, device);
}

Answer sys_rmdir(Task& t, UserAddress path) {
    return remove(t, kAtCwd, path, true);
}
Answer sys_unlink(Task& t, UserAddress path) {
    return remove(t, kAtCwd, path, false);
}
Answer sys_unlinkat(Task& t, int at, UserAddress path, uint32_t flags) {
    if (flags & ~kAtRemoveDirectory) return Fail(Error::InvalidArgument);
    return remove(t, at, path, flags & kAtRemoveDirectory);
}

Answer sys_renameat2(Task& t, int from_at, UserAddress from, int to_at, UserAddress to,
                     uint32_t flags) {
    if (flags > 2) return Fail(Error::InvalidArgument);
    std::string a = TRY(fetch_path(t, from)), b = TRY(fetch_path(t, to));
    Resolved source = TRY(find_entry(t, from_at, a));
    PathContext c = TRY(path_context(t, to_at, b));
    Resolved target = TRY(resolve(t.vnode().mounts(), c, b, LastLink::Keep));
    if (target.name.empty()) return Fail(Error::Busy);
    if (source.parent.fs != target.parent.fs || (target.exists && target.at.fs != target.parent.fs))
        return Fail(Error::CrossDevice);
    bool directory = source.attributes.type == FileType::Directory;
    if (target.must_be_directory && !directory) return Fail(Error::NotDirectory);
    auto mode = flags == 1   ? RemoteFiles::RenameMode::NoReplace
                : flags == 2 ? RemoteFiles::RenameMode::Exchange
                             : RemoteFiles::RenameMode::Replace;
    TRY(source.parent.fs->rename(c.who, source.parent.file, source.name, target.parent.file,
                                 target.name, mode));
    return 0;
}
Answer sys_renameat(Task& t, int from_at, UserAddress from, int to_at, UserAddress to) {
    return sys_renameat2(t, from_at, from, to_at, to, 0);
}
Answer sys_rename(Task& t, UserAddress from, UserAddress to) {
    return sys_renameat2(t, kAtCwd, from, kAtCwd, to, 0);
}

Answer sys_linkat(Task& t, int from_at, UserAddress from, int to_at, UserAddress to,
                  uint32_t flags) {
    std::string a = TRY(fetch_path(t, from)), b = TRY(fetch_path(t, to));
    Resolved source =
        TRY(find(t, from_at, a, flags & kAtSymlinkFollow ? LastLink::Follow : LastLink::Keep));
    if (source.description || source.attributes.type == FileType::Directory)
        return Fail(Error::NotPermitted);
    Resolved target = TRY(find_new(t, to_at, b));
    if (source.at.fs != target.parent.fs) return Fail(Error::CrossDevice);
    TRY(source.at.fs->link(t.process().credentials(), source.at.file, target.parent.file,
                           target.name));
    return 0;
}
Answer sys_link(Task& t, UserAddress from, UserAddress to) {
    return sys_linkat(t, kAtCwd, from, kAtCwd, to, 0);
}

Answer sys_symlinkat(Task& t, UserAddress text, int at, UserAddress path) {
    std::string words = TRY(fetch_path(t, text)), p = TRY(fetch_path(t, path));
    if (words.empty()) return Fail(Error::NotFound);
    Resolved r = TRY(find_new(t, at, p));
    TRY(r.parent.fs->symlink(t.process().credentials(), r.parent.file, r.name, words));
    return 0;
}
Answer sys_symlink(Task& t, UserAddress text, UserAddress path) {
    return sys_symlinkat(t, text, kAtCwd, path);
}

Answer sys_readlinkat(Task& t, int at, UserAddress path, UserAddress to, uint64_t length) {
    if (length == 0 || length > INT32_MAX) return Fail(Error::InvalidArgument);
    std::string p = TRY(fetch_path(t, path));
    Resolved r = TRY(find(t, at, p, LastLink::Keep));
    if (r.description || r.attributes.type != FileType::Symlink)
        return Fail(Error::InvalidArgument);
    std::string text = TRY(r.at.fs->read_link(r.at.file));
    size_t n = text.size() < length ? text.size() : length;
    TRY(copy_out(t, to, bytes_of(std::string_view(text).substr(0, n))));
    return static_cast<long>(n);
}
Answer sys_readlink(Task& t, UserAddress path, UserAddress to, uint64_t length) {
    return sys_readlinkat(t, kAtCwd, path, to, length);
}

Answer sys_chdir(Task& t, UserAddress path) {
    std::string p = TRY(fetch_path(t, path));
    Resolved r = TRY(find(t, kAtCwd, p, LastLink::Follow));
    if (r.description || r.attributes.type != FileType::Directory) return Fail(Error::NotDirectory);
    if (!permits(r.attributes, t.process().credentials(), kAccessExecute))
        return Fail(Error::AccessDenied);
    return set_directory(t, r.at, false);
}

Answer sys_fchdir(Task& t, int fd) {
    Ref<Description> d = TRY(descriptor(t, fd));
    Attributes a = TRY(d->attributes());
    if (!d->where() || a.type != FileType::Directory) return Fail(Error::NotDirectory);
    if (!permits(a, t.process().credentials(), kAccessExecute)) return Fail(Error::AccessDenied);
    return set_directory(t, d->where(), false);
}

Answer sys_chroot(Task& t, UserAddress path) {
    std::string p = TRY(fetch_path(t, path));
    Resolved r = TRY(find(t, kAtCwd, p, LastLink::Follow));
    if (r.description || r.attributes.type != FileType::Directory) return Fail(Error::NotDirectory);
    if (t.process().ids.euid != 0) return Fail(Error::NotPermitted);
    return set_directory(t, r.at, true);
}

Answer sys_getcwd(Task& t, UserAddress to, uint64_t length) {
    std::string path;
    Location here;
    {
        MutexGuard guard(t.vnode().mutex());
        here = t.process().cwd;
        path = here.path;
        const std::string& root = t.process().root.path;
        if (root != "/") { // seen from inside a chroot
            if (path == root)
                path = "/";
            else if (path.starts_with(root + "/"))
                path = path.substr(root.size());
            else
                path = std::string("(unreachable)") + path;
        }
    }
    if (path.size() + 1 > length) return Fail(Error::Range);
    Result<Attributes> now = here.fs->attributes(here.file);
    bool removed = now ? now->links == 0 : now.error() == Error::Stale;
    if (removed) return Fail(Error::NotFound);
    TRY(copy_out(t, to, Bytes(reinterpret_cast<const std::byte*>(path.c_str()), path.size() + 1)));
    return static_cast<long>(path.size() + 1);
}

} // namespace tessera::syscalls
