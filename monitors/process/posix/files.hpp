// RemoteFiles: the files of a vNode's store, as POSIX objects see them. Blocking, thread context.
//
// Implemented over RPC by monitors/process/files (names and attributes at the sComponent, data at
// the file's home mComponent: protocols.md 6) and by an in-memory fake for hosted tests of posix.
// Every request is self-contained: vNode, object and generation, absolute offset, credentials.
// Paths appear only in lookups and creations; mounts, root, cwd and `..` above a root are the
// caller's. Common errors: Stale (the object is gone), Io, Timeout, AccessDenied, NoSpace.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/function.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace tessera::posix {

struct FileRef {
    FileId id;
    Generation generation;
    bool operator==(const FileRef&) const = default;
    explicit operator bool() const { return static_cast<bool>(id); }
};

enum class FileType : uint8_t {
    None,
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket
};

struct Attributes {
    FileRef file;
    FileType type = FileType::None;
    uint16_t mode = 0; // permission, set-id and sticky bits only (07777)
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint32_t links = 0;
    uint32_t device = 0; // rdev, Linux encoding, for device nodes
    uint64_t size = 0;
    uint64_t blocks = 0;     // 512-byte units
    int64_t accessed_ns = 0; // since the epoch
    int64_t modified_ns = 0;
    int64_t changed_ns = 0;
};

struct Credentials {
    uint32_t uid = 0;
    uint32_t gid = 0;
    std::array<uint32_t, 32> groups = {};
    uint8_t group_count = 0;
};

struct WalkResult {
    enum class Stop : uint8_t {
        Done,    // the whole path was walked; attributes are of its object
        Symlink, // a link in the middle, or last with follow_last: link is its text
        DotDot,  // `..` leads out of `from`'s root: the caller's mount table decides
        Missing, // the last component does not exist, its directory does: attributes are the
                 // directory's
    };
    Stop stop = Stop::Done;
    Attributes attributes; // Symlink: of the directory that holds the link
    FileRef parent;        // Done, Missing: the directory of the last component
    std::string link;
    size_t consumed = 0; // bytes of the path that were walked, the link itself included
};

struct AttributeChange {
    bool set_mode = false, set_uid = false, set_gid = false, set_size = false;
    bool set_accessed = false, set_modified = false; // to the given times
    bool accessed_now = false, modified_now = false;
    uint16_t mode = 0;
    uint32_t uid = 0, gid = 0;
    uint64_t size = 0;
    int64_t accessed_ns = 0, modified_ns = 0;
};

struct DirectoryEntry {
    std::string name;
    FileId id;
    FileType type = FileType::None;
    uint64_t cookie = 0; // read_directory(after = cookie) continues behind this entry
};

struct FileSystemUse {
    uint64_t total_bytes = 0, free_bytes = 0, total_files = 0, free_files = 0;
};

// Where what a descriptor wrote and did not sync is: one life of the file's home. 0: nothing is.
// read, write and sync with it end in Lost, and have no effect, if that life is over.
using HomeLife = uint64_t;

class RemoteFiles {
  public:
    virtual FileRef root(
        VnodeId vnode) = 0; // the vNode's mounted root directory; none if unmounted

    virtual Result<WalkResult> walk(VnodeId v, const Credentials& who, FileRef from,
                                    std::string_view path, bool follow_last) = 0;
    virtual Result<Attributes> attributes(VnodeId v, FileRef f) = 0;
    virtual Result<Attributes> change(VnodeId v, const Credentials& who, FileRef f,
                                      const AttributeChange& c) = 0;
    // exclusive: Exists if the name is there; else an existing regular file is returned.
    virtual Result<Attributes> create(VnodeId v, const Credentials& who, FileRef directory,
                                      std::string_view name, FileType type, uint16_t mode,
                                      uint32_t device, bool exclusive) = 0;
    virtual Result<Attributes> symlink(VnodeId v, const Credentials& who, FileRef directory,
                                       std::string_view name, std::string_view text) = 0;
    virtual Result<std::string> read_link(VnodeId v, FileRef f) = 0;
    virtual Result<void> link(VnodeId v, const Credentials& who, FileRef f, FileRef directory,
                              std::string_view name) = 0;
    virtual Result<void> unlink(VnodeId v, const Credentials& who, FileRef directory,
                                std::string_view name, bool want_directory) = 0;
    enum class RenameMode : uint8_t { Replace, NoReplace, Exchange };
    virtual Result<void> rename(VnodeId v, const Credentials& who, FileRef from_directory,
                                std::string_view from, FileRef to_directory, std::string_view to,
                                RenameMode mode) = 0;
    virtual Result<std::vector<DirectoryEntry>> read_directory(VnodeId v, const Credentials& who,
                                                               FileRef directory, uint64_t after,
                                                               size_t most) = 0;

    // An open file description holds the object, so that it outlives its name; both are counted.
    virtual Result<void> hold(VnodeId v, FileRef f) = 0;
    virtual void release(VnodeId v, FileRef f) = 0;

    virtual Result<size_t> read(VnodeId v, FileRef f, uint64_t offset, MutableBytes into,
                                HomeLife unsynced = 0) = 0; // 0 = end
    // append: the home ignores offset and writes at its end; returns where the data ended up.
    struct Written {
        uint64_t offset = 0;
        size_t length = 0;
        HomeLife home = 0; // where it is until it is synced
    };
    virtual Result<Written> write(VnodeId v, FileRef f, uint64_t offset, Bytes data, bool append,
                                  HomeLife unsynced = 0) = 0;
    virtual Result<void> sync(VnodeId v, FileRef f, bool data_only,
                              HomeLife unsynced = 0) = 0; // returns when durable
    // Whether it is known here, without asking anybody, that this life is over.
    virtual bool over(HomeLife) { return false; }
    virtual Result<void> sync_all(VnodeId v) = 0;
    virtual Result<FileSystemUse> use(VnodeId v) = 0;

  protected:
    ~RemoteFiles() = default;
};

} // namespace tessera::posix
