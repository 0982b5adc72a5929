#include "monitors/process/posix/fs/store_fs.hpp"

#include "monitors/process/posix/fs/dev_fs.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"

namespace tessera::posix {

using kernel::MutexGuard;

namespace {
// What a program may see of a remote failure.
template <typename T>
Result<T> seen(Result<T> r) {
    if (r) return r;
    switch (r.error()) {
        case Error::Timeout:
        case Error::Disconnected:
        case Error::OutcomeUnknown:
        case Error::Dead:
        case Error::Lost:
        case Error::Corrupt:
        case Error::Full:
        case Error::Busy:
            return Fail(Error::Io);
        default:
            return r;
    }
}
constexpr size_t kPiece = 32 * 1024;
} // namespace

StoreFs::StoreFs(Vnode& v, RemoteFiles& files, uint32_t device)
    : FileSystem(v, "tessera", device), files_(files), id_(v.id()) {
    magic_ = 0x54455353;
}

FileRef StoreFs::root() {
    return files_.root(id_);
}

Result<WalkResult> StoreFs::walk(const Credentials& who, FileRef from, std::string_view path,
                                 bool follow_last) {
    auto r = seen(files_.walk(id_, who, from, path, follow_last));
    if (r && r->stop == WalkResult::Stop::Symlink) r->parent = {};
    return r;
}

Result<Attributes> StoreFs::attributes(FileRef f) {
    return seen(files_.attributes(id_, f));
}

Result<std::string> StoreFs::read_link(FileRef f) {
    return seen(files_.read_link(id_, f));
}

Result<std::vector<DirectoryEntry>> StoreFs::read_directory(const Credentials& who, FileRef d,
                                                            uint64_t after, size_t most) {
    return seen(files_.read_directory(id_, who, d, after, most));
}

Result<Ref<Description>> StoreFs::open(const Credentials& who, const Location& at,
                                       const Attributes& a, uint32_t flags) {
    switch (a.type) {
        case FileType::CharDevice:
            return vnode().devices().open_device(a.device, at, flags);
        case FileType::BlockDevice:
        case FileType::Socket:
            return Fail(Error::NoDevice);
        case FileType::Fifo:
            return fifos_.open(vnode(), at, flags);
        case FileType::Symlink:
            return Fail(Error::TooManyLinks);
        case FileType::Directory:
            TRY(seen(files_.hold(id_, at.file)));
            return Ref<Description>(make_ref<Directory>(*this, flags, at, true));
        default:
            TRY(seen(files_.hold(id_, at.file)));
            return Ref<Description>(make_ref<StoreFile>(*this, flags, at));
    }
}

Result<Attributes> StoreFs::change(const Credentials& who, FileRef f, const AttributeChange& c) {
    return seen(files_.change(id_, who, f, c));
}

Result<Attributes> StoreFs::create(const Credentials& who, FileRef d, std::string_view name,
                                   FileType type, uint16_t mode, uint32_t device, bool exclusive) {
    return seen(files_.create(id_, who, d, name, type, mode, device, exclusive));
}

Result<Attributes> StoreFs::symlink(const Credentials& who, FileRef d, std::string_view name,
                                    std::string_view text) {
    return seen(files_.symlink(id_, who, d, name, text));
}

Result<void> StoreFs::link(const Credentials& who, FileRef f, FileRef d, std::string_view name) {
    return seen(files_.link(id_, who, f, d, name));
}

Result<void> StoreFs::unlink(const Credentials& who, FileRef d, std::string_view name,
                             bool directory) {
    return seen(files_.unlink(id_, who, d, name, directory));
}

Result<void> StoreFs::rename(const Credentials& who, FileRef from_directory, std::string_view from,
                             FileRef to_directory, std::string_view to,
                             RemoteFiles::RenameMode mode) {
    return seen(files_.rename(id_, who, from_directory, from, to_directory, to, mode));
}

Result<void> StoreFs::sync() {
    return seen(files_.sync_all(id_));
}

Result<FileSystemUse> StoreFs::use() {
    return seen(files_.use(id_));
}

// --- files ---

StoreFile::StoreFile(StoreFs& fs, uint32_t flags, Location where)
    : Description(fs.vnode(), ObjectKind::StoreFile, flags, std::move(where)), fs_(fs) {}

StoreFile::~StoreFile() {
    fs_.files().release(vnode().id(), where_.file);
}

// An error on its way to the program. That unsynced data is lost is said once.
Error StoreFile::report(Error e) {
    if (e != Error::Lost) return seen(Result<void>(Fail(e))).error();
    unsynced_.with([](Unsynced& u) { u.home = 0; });
    return Error::Io;
}

Result<size_t> StoreFile::read_at(uint64_t offset, MutableBytes into) {
    size_t done = 0;
    while (done < into.size()) {
        MutableBytes piece = into.subspan(done, std::min(kPiece, into.size() - done));
        Result<size_t> n =
            fs_.files().read(vnode().id(), where_.file, offset + done, piece, unsynced().home);
        if (!n) {
            if (done) return done; // the next call reports it
            return Fail(report(n.error()));
        }
        if (*n == 0) break;
        done += *n;
    }
    return done;
}

Result<RemoteFiles::Written> StoreFile::write_piece(uint64_t offset, Bytes piece, bool append) {
    auto w = fs_.files().write(vnode().id(), where_.file, offset, piece, append, unsynced().home);
    if (w && w->length)
        unsynced_.with([&](Unsynced& u) {
            u.home = w->home;
            u.writes++;
        });
    return w;
}

Result<size_t> StoreFile::write_at(uint64_t offset, Bytes from) {
    size_t done = 0;
    while (done < from.size()) {
        Bytes piece = from.subspan(done, std::min(kPiece, from.size() - done));
        auto w = write_piece(offset + done, piece, false);
        if (!w) {
            if (done) return done;
            return Fail(report(w.error()));
        }
        if (w->length == 0) break;
        done += w->length;
    }
    if (done && (flags() & (kOpenSync | kOpenDsync))) TRY(sync(true));
    return done;
}

Result<size_t> StoreFile::read(MutableBytes into) {
    MutexGuard guard(mutex_);
    size_t n = TRY(read_at(offset_, into));
    offset_ += n;
    return n;
}

Result<size_t> StoreFile::write(Bytes from) {
    MutexGuard guard(mutex_);
    if (!(flags() & kOpenAppend)) {
        size_t n = TRY(write_at(offset_, from));
        offset_ += n;
        return n;
    }
    size_t done = 0;
    while (done < from.size()) {
        Bytes piece = from.subspan(done, std::min(kPiece, from.size() - done));
        auto w = write_piece(0, piece, true);
        if (!w) {
            if (done) return done;
            return Fail(report(w.error()));
        }
        if (w->length == 0) break;
        done += w->length;
        offset_ = w->offset + w->length;
    }
    if (done && (flags() & (kOpenSync | kOpenDsync))) TRY(sync(true));
    return done;
}

Result<int64_t> StoreFile::seek(int64_t offset, int whence) {
    MutexGuard guard(mutex_);
    int64_t base = 0;
    if (whence == kSeekCurrent)
        base = static_cast<int64_t>(offset_);
    else if (whence == kSeekEnd)
        base = static_cast<int64_t>(TRY(attributes()).size);
    else if (whence != kSeekSet)
        return Fail(Error::InvalidArgument);
    int64_t to;
    if (__builtin_add_overflow(base, offset, &to)) return Fail(Error::Overflow);
    if (to < 0) return Fail(Error::InvalidArgument);
    offset_ = static_cast<uint64_t>(to);
    return to;
}

Result<Attributes> StoreFile::attributes() {
    return fs_.attributes(where_.file);
}

Result<Attributes> StoreFile::change(const Credentials& who, const AttributeChange& c) {
    return fs_.change(who, where_.file, c);
}

Result<void> StoreFile::sync(bool data_only) {
    Unsynced before = unsynced();
    Result<void> r = fs_.files().sync(vnode().id(), where_.file, data_only, before.home);
    if (!r) return Fail(report(r.error()));
    unsynced_.with([&](Unsynced& u) {
        if (u.writes == before.writes) u.home = 0;
    });
    return {};
}

Result<void> StoreFile::closing() {
    HomeLife home = unsynced().home;
    if (!home || !fs_.files().over(home)) return {};
    return Fail(report(Error::Lost));
}

void StoreFile::record(Archive& a) {
    Description::record(a);
    a.number(offset_);
    HomeLife home = unsynced().home;
    a.number(home);
    unsynced_.with([&](Unsynced& u) { u.home = home; });
}

// --- directories ---

Directory::Directory(FileSystem& fs, uint32_t flags, Location where, bool held)
    : Description(fs.vnode(), ObjectKind::Directory, flags, std::move(where)), held_(held) {}

Directory::~Directory() {
    if (held_) vnode().files().release(vnode().id(), where_.file);
}

Result<int64_t> Directory::seek(int64_t offset, int whence) {
    MutexGuard guard(mutex_);
    if (whence == kSeekCurrent && offset == 0) return static_cast<int64_t>(position_);
    if (whence != kSeekSet || offset < 0) return Fail(Error::InvalidArgument);
    position_ = static_cast<uint64_t>(offset);
    return offset;
}

// The lock only guards the position: /proc takes the vNode's lock (outside of ours) to list itself.
Result<void> Directory::entries(Function<bool(const DirectoryEntry&, uint64_t next)> take) {
    uint64_t at;
    {
        MutexGuard guard(mutex_);
        at = position_;
    }
    auto moved = [&] {
        MutexGuard guard(mutex_);
        position_ = at;
    };
    while (at < 2) {
        bool up = at == 1;
        DirectoryEntry e;
        e.name = up ? ".." : ".";
        e.type = FileType::Directory;
        e.id = where_.file.id;
        if (up) {
            auto parent = where_.fs->walk({}, where_.file, "..", true);
            if (parent && parent->stop == WalkResult::Stop::Done) e.id = parent->attributes.file.id;
        }
        if (!take(e, at + 1)) return moved(), Result<void>();
        at++;
    }
    for (;;) {
        auto page = where_.fs->read_directory({}, where_.file, at - 2, 64);
        if (!page) return moved(), Result<void>(Fail(page.error()));
        if (page->empty()) return moved(), Result<void>();
        for (const DirectoryEntry& e : *page) {
            if (!take(e, e.cookie + 2)) return moved(), Result<void>();
            at = e.cookie + 2;
        }
    }
}

void Directory::record(Archive& a) {
    Description::record(a);
    a.number(position_);
}

} // namespace tessera::posix
