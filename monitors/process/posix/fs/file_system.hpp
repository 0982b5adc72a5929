// FileSystem: what stands behind the file-system switch: the store, /dev, /proc. One instance per
// mount and vNode, owned by the Vnode and alive as long as it.
//
// Files are named by FileRef (the store's ids; made-up ids in /dev and /proc). The interface
// follows RemoteFiles; defaults refuse as a read-only file system does. Thread context, may block.
#pragma once

#include <string>

#include "base/ref.hpp"
#include "monitors/process/posix/files.hpp"

namespace tessera::posix {

class Description;
class FileSystem;
class Vnode;

// A file and the absolute path by which it was reached (links resolved, from the vNode's root).
struct Location {
    FileSystem* fs = nullptr;
    FileRef file;
    std::string path;
    explicit operator bool() const { return fs != nullptr; }
    bool same(const Location& o) const { return fs == o.fs && file == o.file; }
};

class FileSystem {
  public:
    FileSystem(Vnode& v, const char* type, uint32_t device)
        : vnode_(v), type_(type), device_(device) {}
    virtual ~FileSystem() = default;

    Vnode& vnode() const { return vnode_; }
    const char* type() const { return type_; }  // for /proc/mounts: tessera, proc, devtmpfs
    uint32_t device() const { return device_; } // st_dev
    uint32_t magic() const { return magic_; }   // statfs f_type

    virtual FileRef root() = 0;
    virtual Result<WalkResult> walk(const Credentials& who, FileRef from, std::string_view path,
                                    bool follow_last) = 0;
    virtual Result<Attributes> attributes(FileRef f) = 0;
    virtual Result<std::string> read_link(FileRef f) { return Fail(Error::InvalidArgument); }
    virtual Result<std::vector<DirectoryEntry>> read_directory(const Credentials& who, FileRef d,
                                                               uint64_t after, size_t most) = 0;
    // Opens an existing file whose access has been checked. O_TRUNC has been done.
    virtual Result<Ref<Description>> open(const Credentials& who, const Location& at,
                                          const Attributes& a, uint32_t flags) = 0;
    // Links that are not text (/proc/self/fd/1, /proc/self/exe): where they lead, else empty.
    virtual Result<Location> magic_link(FileRef link) { return Location{}; }
    virtual Ref<Description> magic_description(FileRef link);

    virtual Result<Attributes> change(const Credentials& who, FileRef f, const AttributeChange& c) {
        return Fail(Error::NotPermitted);
    }
    virtual Result<Attributes> create(const Credentials& who, FileRef d, std::string_view name,
                                      FileType type, uint16_t mode, uint32_t device,
                                      bool exclusive) {
        return Fail(Error::AccessDenied);
    }
    virtual Result<Attributes> symlink(const Credentials& who, FileRef d, std::string_view name,
                                       std::string_view text) {
        return Fail(Error::AccessDenied);
    }
    virtual Result<void> link(const Credentials& who, FileRef f, FileRef d, std::string_view name) {
        return Fail(Error::NotPermitted);
    }
    virtual Result<void> unlink(const Credentials& who, FileRef d, std::string_view name,
                                bool directory) {
        return Fail(Error::NotPermitted);
    }
    virtual Result<void> rename(const Credentials& who, FileRef from_directory,
                                std::string_view from, FileRef to_directory, std::string_view to,
                                RemoteFiles::RenameMode mode) {
        return Fail(Error::NotPermitted);
    }
    virtual Result<void> sync() { return {}; }
    virtual Result<FileSystemUse> use() { return FileSystemUse{}; }

  protected:
    uint32_t magic_ = 0;

  private:
    Vnode& vnode_;
    const char* type_;
    uint32_t device_;
};

// Permission bits as Linux checks them; `want` of kAccess*. uid 0 may all but execute what nobody
// may.
bool permits(const Attributes& a, const Credentials& who, uint32_t want);

} // namespace tessera::posix
