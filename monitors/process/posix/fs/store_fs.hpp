// StoreFs: the vNode's store (RemoteFiles) behind the switch, and descriptors on its files.
//
// A description holds the object, so that an unlinked file lives until its last close. The lock of
// a description (rank FileDescription) orders reads and writes at the shared offset and is held
// across RemoteFiles calls, whose time is bounded. Remote failures of transport become Io.
//
// A description remembers which life of the file's home has what was written through it and not
// synced. When that life is over, the next read, write, fsync or close is EIO, once.
#pragma once

#include "monitors/process/posix/file/description.hpp"
#include "monitors/process/posix/fs/file_system.hpp"
#include "monitors/process/posix/pipe/pipe.hpp"

namespace tessera::posix {

class StoreFs final : public FileSystem {
  public:
    StoreFs(Vnode& v, RemoteFiles& files, uint32_t device);
    RemoteFiles& files() { return files_; }

    FileRef root() override;
    Result<WalkResult> walk(const Credentials& who, FileRef from, std::string_view path,
                            bool follow_last) override;
    Result<Attributes> attributes(FileRef f) override;
    Result<std::string> read_link(FileRef f) override;
    Result<std::vector<DirectoryEntry>> read_directory(const Credentials& who, FileRef d,
                                                       uint64_t after, size_t most) override;
    Result<Ref<Description>> open(const Credentials& who, const Location& at, const Attributes& a,
                                  uint32_t flags) override;
    Result<Attributes> change(const Credentials& who, FileRef f, const AttributeChange& c) override;
    Result<Attributes> create(const Credentials& who, FileRef d, std::string_view name,
                              FileType type, uint16_t mode, uint32_t device,
                              bool exclusive) override;
    Result<Attributes> symlink(const Credentials& who, FileRef d, std::string_view name,
                               std::string_view text) override;
    Result<void> link(const Credentials& who, FileRef f, FileRef d, std::string_view name) override;
    Result<void> unlink(const Credentials& who, FileRef d, std::string_view name,
                        bool directory) override;
    Result<void> rename(const Credentials& who, FileRef from_directory, std::string_view from,
                        FileRef to_directory, std::string_view to,
                        RemoteFiles::RenameMode mode) override;
    Result<void> sync() override;
    Result<FileSystemUse> use() override;

  private:
    RemoteFiles& files_;
    VnodeId id_;
    FifoTable fifos_;
};

class StoreFile final : public Description {
  public:
    // Takes over a hold() that the caller has done.
    StoreFile(StoreFs& fs, uint32_t flags, Location where);
    ~StoreFile() override;
    Result<size_t> read(MutableBytes into) override;
    Result<size_t> write(Bytes from) override;
    Result<size_t> read_at(uint64_t offset, MutableBytes into) override;
    Result<size_t> write_at(uint64_t offset, Bytes from) override;
    Result<int64_t> seek(int64_t offset, int whence) override;
    Result<Attributes> attributes() override;
    Result<Attributes> change(const Credentials& who, const AttributeChange& c) override;
    Result<void> sync(bool data_only) override;
    Result<void> closing() override;
    bool bulk() const override { return true; }
    FileRef mappable() override { return where_.file; }
    void record(Archive& a) override;

  private:
    struct Unsynced {
        HomeLife home = 0;
        uint64_t writes = 0; // tells whether something was written during a sync
    };
    Unsynced unsynced() {
        return unsynced_.with([](Unsynced& u) { return u; });
    }
    Result<RemoteFiles::Written> write_piece(uint64_t offset, Bytes piece, bool append);
    Error report(Error e);

    StoreFs& fs_;
    kernel::Mutex mutex_{kernel::LockRank::FileDescription};
    uint64_t offset_ = 0;
    kernel::Locked<Unsynced, kernel::LockRank::Leaf> unsynced_;
};

// An open directory of any file system. The position is the cookie of the last entry taken, plus 2:
// 0 and 1 are "." and "..".
class Directory final : public Description {
  public:
    Directory(FileSystem& fs, uint32_t flags, Location where, bool held);
    ~Directory() override;
    Result<size_t> read(MutableBytes) override { return Fail(Error::IsDirectory); }
    Result<int64_t> seek(int64_t offset, int whence) override;
    Result<Attributes> attributes() override { return where_.fs->attributes(where_.file); }
    Result<Attributes> change(const Credentials& who, const AttributeChange& c) override {
        return where_.fs->change(who, where_.file, c);
    }
    Result<void> sync(bool) override { return where_.fs->sync(); }
    Result<void> entries(Function<bool(const DirectoryEntry&, uint64_t next)> take) override;
    void record(Archive& a) override;

  private:
    bool held_;
    kernel::Mutex mutex_{kernel::LockRank::FileDescription};
    uint64_t position_ = 0;
};

// What O_PATH gives: a name for *at calls and fchdir, no access to contents.
class PathFile final : public Description {
  public:
    PathFile(Vnode& v, uint32_t flags, Location where)
        : Description(v, ObjectKind::PathFile, flags, std::move(where)) {}
    Result<size_t> read(MutableBytes) override { return Fail(Error::BadHandle); }
    Result<size_t> write(Bytes) override { return Fail(Error::BadHandle); }
    Result<Attributes> attributes() override { return where_.fs->attributes(where_.file); }
};

} // namespace tessera::posix
