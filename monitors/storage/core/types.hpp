// The words of the file store: what its callers pass in and get back. Plain values, no behaviour.
//
// Everything passed by view (names, paths, groups, data) must stay valid and unchanged until the
// operation's completion has been called; views handed to a completion end when it returns.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/function.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace tessera::storage {

inline constexpr size_t kMaxName = 255;
inline constexpr size_t kMaxSymlink = 4095;
inline constexpr size_t kMaxPath = 4096;
inline constexpr uint32_t kMaxLinks = 65000;
inline constexpr uint64_t kMaxFileSize = uint64_t{1} << 43; // 8 TiB

template <typename T>
using Done = Function<void(Result<T>), 64>;

// Not a vNode: the root that those of new vNodes are copies of.
inline constexpr VnodeId kTemplateRoot{0xffffffff};

// Names one object for ever: the pair is never used for another, also not after a crash that forgot
// an unsynced create. {0, 0} names nothing.
struct ObjectRef {
    FileId id;
    Generation generation;
    constexpr auto operator<=>(const ObjectRef&) const = default;
    constexpr explicit operator bool() const { return bool(id); }
};

enum class FileType : uint8_t {
    None = 0,
    File = 1,
    Directory = 2,
    Symlink = 3,
    CharDevice = 4,
    BlockDevice = 5,
    Fifo = 6,
    Socket = 7,
};

struct Attributes {
    ObjectRef object;
    ObjectRef parent; // directories: what `..` is (a root's parent is itself); others: none
    FileType type = FileType::None;
    uint32_t mode = 0; // permission bits with suid, sgid, sticky: 07777
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint32_t nlink = 0;
    VnodeId vnode;       // whose root it lives under
    uint64_t size = 0;   // bytes; a symlink's is its target's length, a directory's its entry count
    uint64_t blocks = 0; // 4 KiB blocks allocated
    uint64_t device = 0; // device nodes: as the process monitor encodes it
    int64_t atime = 0;   // nanoseconds since 1970
    int64_t mtime = 0;
    int64_t ctime = 0;
};

struct Credentials {
    uint32_t uid = 0;
    uint32_t gid = 0;
    std::span<const uint32_t> groups = {};
};

// Identifies a non-idempotent request across retries and across restarts of the store (protocols.md
// section 7). sequence 0: none, not remembered.
struct RequestId {
    NodeId client;
    Incarnation incarnation;
    uint64_t sequence = 0;
    constexpr auto operator<=>(const RequestId&) const = default;
};

// Who keeps an object alive after its last name is gone, or has blocks reserved.
struct Holder {
    NodeId node;
    Incarnation incarnation;
    constexpr auto operator<=>(const Holder&) const = default;
    constexpr explicit operator bool() const { return bool(node); }
};

// On whose behalf, which request, and the wall-clock time to stamp (the file's home stamps times).
struct Caller {
    Credentials credentials;
    RequestId request;
    Holder reserved_by;    // of a write: whose reserved blocks it may use,
    uint32_t reserved = 0; // and how many of them
    int64_t time =
        0; // nanoseconds since 1970; 0: the store's clock plus MountOptions::realtime_offset
};

// Access masks, as access(2).
inline constexpr uint8_t kExecute = 1;
inline constexpr uint8_t kWrite = 2;
inline constexpr uint8_t kRead = 4;

enum class Stop : uint8_t {
    Object = 0, // the path is used up: attributes are the object's
    Symlink =
        1, // attributes are the symlink's, link_target its text; rest (may be empty) follows it
    DotDot = 2,  // `..` taken at the boundary or a vNode's root: attributes are that directory's,
                 // rest follows the `..`. Elsewhere `..` is walked here
    Missing = 3, // only the last component is absent: attributes are its directory's, rest its name
};

struct LookupOptions {
    bool follow_last = true; // false: a symlink as the last component is the object found
    ObjectRef boundary = {}; // `..` stops here (a process's root); a vNode's root always does
    uint8_t want = 0;        // access mask to check on the object found; AccessDenied if refused
    Holder hold = {};        // if set and stop is Object: hold it, atomically with the lookup
};

struct LookupResult {
    Stop stop = Stop::Object;
    Attributes attributes;
    ObjectRef parent;               // the directory in which the last name walked was looked up
    std::string_view rest;          // part of the path passed in
    std::string_view link_target;   // valid inside the completion only
    bool must_be_directory = false; // the path ended in a slash
};

struct CreateOptions {
    FileType type = FileType::File; // anything but Directory and Symlink
    uint32_t mode = 0644;           // after umask
    uint64_t device = 0;
    bool exclusive = false; // Exists if the name is taken; otherwise what is there is returned
    Holder hold = {};
};

struct CreateResult {
    Attributes attributes;
    bool created = false; // false: it was there (and the caller checks its rights by access())
};

struct RenameOptions {
    bool no_replace = false;
    bool exchange = false;
};

struct RenameResult {
    ObjectRef moved;
    ObjectRef replaced;          // none if nothing was; with exchange, the other one
    uint32_t replaced_nlink = 0; // 0 and not held: the object is gone
};

// Fields present are changed; times use kTimeNow for "the caller's time".
struct SetAttributes {
    enum Field : uint32_t { Mode = 1, Uid = 2, Gid = 4, Size = 8, Atime = 16, Mtime = 32 };
    uint32_t fields = 0;
    uint32_t mode = 0;
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint64_t size = 0;
    bool only_grow = false; // Size: a larger size stays
    int64_t atime = 0;
    int64_t mtime = 0;
};
inline constexpr int64_t kTimeNow = INT64_MIN;

struct DirectoryEntry {
    std::string_view name;
    ObjectRef object;
    FileType type;
    uint64_t cookie; // pass it to readdir to go on after this entry; never 0
};
// Returns false to stop before the next entry (this one counts as taken).
using DirectoryVisitor = Function<bool(const DirectoryEntry&), 64>;

struct StatFs {
    uint64_t total_bytes = 0; // of the root's quota if it has one, else of the store
    uint64_t free_bytes = 0;
    uint64_t used_bytes = 0;
    uint64_t objects = 0;
    uint64_t free_objects = 0; // estimate
};

struct StoreCounters {
    uint64_t log_records = 0;
    uint64_t log_blocks = 0;
    uint64_t flushes = 0;
    uint64_t checkpoints = 0;
    uint64_t blocks_read = 0;
    uint64_t blocks_written = 0;
    uint64_t checksum_errors = 0;
    uint64_t memory_used = 0;
    uint64_t memory_budget = 0;
    uint64_t path_cache_hits = 0;
    uint64_t replies_resent = 0;
};

} // namespace tessera::storage
