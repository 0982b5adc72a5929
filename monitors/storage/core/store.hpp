// Store: a crash-consistent file store on one partition of a block device (protocols.md section 6).
//
// A passive state machine: an operation is started by a call and ends in its completion, possibly
// before the call returns, otherwise from a completion of the device. One shard calls it and
// delivers the device's completions; nothing blocks, sleeps or locks. Many operations may be under
// way; they take effect in the order of their completions.
//
// Promises
// - Metadata is an index in memory, rebuilt at mount from a snapshot and a log of checksummed
// records.
//   One operation is one record: after a crash it has happened altogether or not at all, and the
//   operations that survive are a prefix of those that completed, which includes everything
//   completed before the start of an fsync or sync that succeeded.
// - Data is never overwritten in place; each 4 KiB block has a checksum kept with the metadata, and
// a
//   block that does not match is never returned (Corrupt).
// - Non-idempotent operations with a RequestId return their first result when they are retried,
// also
//   after a crash, while their entry is in the bounded reply table.
//
// Errors common to all: Stale (the object no longer exists or has another generation), Io (the
// device failed; after a failed log write every change fails with Io until the store is mounted
// again), Full (too many operations are waiting; try later), ReadOnly, NoSpace (device, quota,
// metadata area or the memory budget), AccessDenied and NotPermitted (mode bits; ownership),
// NameTooLong, InvalidArgument.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/ref.hpp"
#include "monitors/env/block_device.hpp"
#include "monitors/storage/core/types.hpp"

namespace tessera::storage {

class Engine;

using Uuid = std::array<std::byte, 16>;

struct FormatOptions {
    Uuid uuid = {};               // random, from the caller's Random
    uint64_t reserved_blocks = 0; // size of a raw partition kept for checkpoints
    uint64_t log_blocks = 0;      // 0: chosen from the size
};

struct MountOptions {
    size_t memory_budget = mib(64); // for the index; over it, what would grow it gets NoSpace
    bool read_only = false;         // writes nothing, not even recovery
    int64_t realtime_offset = 0;    // clock.now() + this = nanoseconds since 1970
    size_t reply_table_entries = 4096;
    uint64_t sync_after_bytes = mib(16); // unflushed data beyond this starts a sync by itself
};

struct CheckOptions {
    bool data = false; // also read every data block and compare its checksum
};

struct CheckReport {
    uint64_t files = 0;
    uint64_t directories = 0;
    uint64_t others = 0;
    uint64_t orphans = 0; // unlinked but held
    uint64_t blocks_used = 0;
    uint64_t blocks_total = 0;
    uint64_t blocks_verified = 0;
    uint64_t problem_count = 0;
    std::vector<std::string> problems; // the first 32, as sentences
    bool clean() const { return problem_count == 0; }
};

class Store {
  public:
    // Writes superblocks, partition table and an empty file store; what was there is gone. The
    // device must have at least kMinBlocks blocks (InvalidArgument).
    static constexpr uint64_t kMinBlocks = 1024;
    static void format(env::BlockDevice& device, const FormatOptions& options, Done<void> done);

    // Loads the index and recovers. device and clock outlive the store. Errors: Malformed (not a
    // store), VersionMismatch, Corrupt (a checksum in what was known durable does not match, or the
    // metadata contradicts itself; the log line says what), NoMemory (does not fit the budget), Io.
    static void mount(env::BlockDevice& device, Clock& clock, const MountOptions& options,
                      Done<Own<Store>> done);
    // Makes everything durable. The store may be destroyed after done, and only when no operation
    // is under way. A store destroyed without it is as after a crash.
    void unmount(Done<void> done);
    ~Store();

    // Roots: one directory per vNode. quota_bytes 0: none.
    void create_root(const Caller&, VnodeId vnode, uint64_t quota_bytes, uint32_t mode,
                     Done<Attributes> done);              // Exists
    void find_root(VnodeId vnode, Done<Attributes> done); // NotFound
    void set_quota(VnodeId vnode, uint64_t quota_bytes, Done<void> done);
    // The root and everything below it goes, in the background, also over a crash; held files stay
    // until they are released.
    void remove_root(VnodeId vnode, Done<void> done);
    // Calls visit(vnode, root, quota, used bytes) for each.
    void list_roots(Function<void(VnodeId, ObjectRef, uint64_t, uint64_t), 64> visit);

    // Names. Walks a relative path from a directory; "" and "." name the directory itself. Errors:
    // NotFound (a directory on the way is missing), NotDirectory, AccessDenied.
    void lookup(const Caller&, ObjectRef directory, std::string_view path, const LookupOptions&,
                Done<LookupResult> done);
    void create(const Caller&, ObjectRef directory, std::string_view name, const CreateOptions&,
                Done<CreateResult> done);
    void mkdir(const Caller&, ObjectRef directory, std::string_view name, uint32_t mode,
               Done<Attributes> done);
    void symlink(const Caller&, ObjectRef directory, std::string_view name, std::string_view target,
                 Done<Attributes> done);
    void readlink(ObjectRef object, Done<std::string_view> done); // NotSymlink
    void link(const Caller&, ObjectRef object, ObjectRef directory, std::string_view name,
              Done<Attributes> done);
    // Attributes of the object without that name; nlink 0: gone, or an orphan while held.
    void unlink(const Caller&, ObjectRef directory, std::string_view name, Done<Attributes> done);
    void rmdir(const Caller&, ObjectRef directory, std::string_view name, Done<void> done);
    void rename(const Caller&, ObjectRef from, std::string_view from_name, ObjectRef to,
                std::string_view to_name, RenameOptions, Done<RenameResult> done);
    // Entries after `cookie` (0: from the start) in a stable order, without `.` and `..`; true:
    // that was all. Entries present throughout a listing appear exactly once.
    void readdir(const Caller&, ObjectRef directory, uint64_t cookie, DirectoryVisitor visit,
                 Done<bool> done);

    // Objects.
    void getattr(ObjectRef object, Done<Attributes> done);
    void setattr(const Caller&, ObjectRef object, const SetAttributes&, Done<Attributes> done);
    void access(const Caller&, ObjectRef object, uint8_t mask, Done<Attributes> done);
    void hold(ObjectRef object, Holder holder, Done<void> done);    // idempotent
    void release(ObjectRef object, Holder holder, Done<void> done); // idempotent; Stale is success
    // The holder is dead: everything held by that node under this or an older incarnation is
    // released.
    void fence(Holder holder, Done<void> done);

    // Data. Rights are checked at open (access, lookup's want), not here. read returns fewer bytes
    // only at the end of the file. A write is visible when it completes, in pieces of at most 1
    // MiB.
    void read(ObjectRef object, uint64_t offset, MutableBytes into, Done<size_t> done);
    void write(const Caller&, ObjectRef object, uint64_t offset, Bytes data, Done<size_t> done);
    // Durable: everything about the object (in fact about the store) that completed before this
    // call.
    void fsync(ObjectRef object, Done<void> done);
    void sync(Done<void> done);

    // Sets blocks aside for writes that this holder will make under the vNode's root: `blocks` is
    // how many it wants to have in all. done gets how many it has; fewer than it asked for: the
    // device, the quota or the metadata is full. Gone with the holder's fence, and with the store.
    void reserve(Holder holder, VnodeId vnode, uint64_t blocks, Done<uint64_t> done);
    // Reserved blocks count as used.
    void statfs(VnodeId vnode, Done<StatFs> done);
    void check(const CheckOptions&, Done<CheckReport> done);
    // Writes a snapshot and empties the log; happens by itself, offered for tools and tests.
    void checkpoint(Done<void> done);
    StoreCounters counters() const;

  private:
    friend class Engine;
    explicit Store(std::unique_ptr<Engine> engine);
    std::unique_ptr<Engine> engine_;
};

} // namespace tessera::storage
