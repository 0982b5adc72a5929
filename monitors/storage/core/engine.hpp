// Engine: the store behind store.hpp. Internal to monitors/storage/core; its parts are public to
// each other, its operations are spread over names.cpp, rename.cpp, attributes.cpp, holds.cpp,
// roots.cpp, data_ops.cpp, write.cpp and check.cpp.
//
// An operation that changes metadata: check it against the index, build a record, commit(). The
// record is applied to the index and appended to the log buffer in one step, so the operation is
// visible when commit() returns and durable after the next sync. What cannot be done now (log
// buffer or log full, all data operations taken) waits in one queue, in order; a full queue refuses
// with Full.
#pragma once

#include <deque>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "monitors/storage/core/allocator.hpp"
#include "monitors/storage/core/checkpoint.hpp"
#include "monitors/storage/core/data_op.hpp"
#include "monitors/storage/core/device_queue.hpp"
#include "monitors/storage/core/index.hpp"
#include "monitors/storage/core/log.hpp"
#include "monitors/storage/core/path_cache.hpp"
#include "monitors/storage/core/record.hpp"
#include "monitors/storage/core/reservations.hpp"
#include "monitors/storage/core/store.hpp"

namespace tessera::storage {

class Engine final : public IndexListener, public LogListener {
  public:
    static constexpr size_t kDataOps = 32;
    static constexpr size_t kMaxWaiting = 1024;
    static constexpr uint64_t kDataReserve = 16;      // blocks kept for truncations
    static constexpr size_t kMemoryPerBlock = 4;      // of a file, in the index
    static constexpr size_t kSnapshotPerBlock = 36;   // at most: an extent of its own
    static constexpr uint64_t kMaxUnflushedLog = 512; // log blocks

    Engine(env::BlockDevice& device, Clock& clock, const MountOptions& options);
    ~Engine();

    // --- parts
    Clock& clock;
    MountOptions options;
    DeviceQueue device;
    Log log;
    Checkpointer checkpointer;
    StoreHeader header;
    std::unique_ptr<Index> index;
    std::unique_ptr<Allocator> allocator;
    Reservations reservations;
    PathCache paths;
    RecordBuilder record;
    uint64_t checksum_errors = 0;
    uint64_t replies_resent = 0;

    // --- service to the operations
    int64_t time_of(const Caller& caller) const {
        return caller.time ? caller.time : clock.now().value + options.realtime_offset;
    }
    Result<Object*> object(ObjectRef ref) const;    // Stale
    Result<Object*> directory(ObjectRef ref) const; // Stale, NotDirectory
    Attributes attributes(const Object& o) const;
    static bool permitted(const Credentials& who, const Object& o, uint8_t mask);
    static ObjectItem item_of(const Object& o);
    bool can_commit() const { // or is refused at once
        return options.read_only || log.failed() || log.can_append(kMaxRecord);
    }
    Result<void> may_change() const; // ReadOnly, Io
    // Beside what is reserved, but for `own` blocks of it. NoSpace.
    Result<void> room_for(size_t memory, size_t snapshot_bytes, uint64_t own = 0);
    // Applies and logs `record`, and clears it. The objects named become dirty for fsync.
    void commit(std::initializer_list<Object*> touched);
    void remember(const Caller& caller, ObjectRef result); // adds the reply to `record`
    bool on_way(const Object& from, const Object* ancestor) const;

    // Runs body() -> Result<T> now, or when the log can take a record again, and completes with it.
    template <typename T, typename Body>
    void change(Done<T> done, Body body);
    void wait_or_run(Function<bool(const Error*), 448> attempt);
    void pump();

    // --- operations (store.hpp says what they do)
    Result<Attributes> create_root(const Caller&, VnodeId, uint64_t quota, uint32_t mode);
    Result<void> set_quota(VnodeId, uint64_t quota);
    Result<void> remove_root(VnodeId);
    Result<LookupResult> lookup(const Caller&, ObjectRef, std::string_view, const LookupOptions&);
    Result<CreateResult> create(const Caller&, ObjectRef, std::string_view, const CreateOptions&);
    Result<Attributes> mkdir(const Caller&, ObjectRef, std::string_view, uint32_t mode);
    Result<Attributes> symlink(const Caller&, ObjectRef, std::string_view, std::string_view target);
    Result<Attributes> link(const Caller&, ObjectRef, ObjectRef, std::string_view);
    Result<Attributes> unlink(const Caller&, ObjectRef, std::string_view);
    Result<void> rmdir(const Caller&, ObjectRef, std::string_view);
    Result<RenameResult> rename(const Caller&, ObjectRef, std::string_view, ObjectRef,
                                std::string_view, RenameOptions);
    Result<bool> readdir(ObjectRef, uint64_t cookie, DirectoryVisitor&);
    Result<Attributes> setattr(const Caller&, ObjectRef, const SetAttributes&);
    Result<void> hold(ObjectRef, Holder);
    Result<void> release(ObjectRef, Holder);
    Result<void> fence(Holder);
    Result<StatFs> statfs(VnodeId);
    void reserve(Holder, VnodeId, uint64_t blocks, Done<uint64_t> done);
    void sync(Log::Waiter done);
    void check(const CheckOptions&, Done<CheckReport> done);

    void start_read(ObjectRef, uint64_t offset, MutableBytes into, Done<size_t> done);
    void start_write(const Caller&, ObjectRef, uint64_t offset, Bytes data, Done<size_t> done);
    void start_resize(const Caller&, ObjectRef, const SetAttributes&, Done<Attributes> done);

    // --- recovery and checkpoints
    void write_header(DeviceQueue::Completion done);
    void begin_reaping(Object& directory) { doomed_.push_back(directory.ref.id); }

    void blocks_freed(uint32_t disk_block, uint32_t count) override;
    void object_leaves(Object& object) override;
    void log_progressed() override { pump(); }
    void log_failed(Error e) override;

  private:
    friend class CheckRun;
    Result<ObjectItem> new_object(const Caller&, Object& directory, std::string_view name,
                                  FileType type, uint32_t mode);
    Result<Attributes> commit_new(const Caller&, Object& directory, std::string_view name,
                                  const ObjectItem& item, Holder hold);
    Result<void> may_remove(const Caller&, const Object& directory, const Object& target) const;
    Object* child_for(const Object& directory, std::string_view name, Result<void>& why) const;
    void drop_link(Object& o, int64_t time); // record items for one name less
    Result<SetAttributes> checked_change(const Caller&, Object&, SetAttributes) const;
    void apply_change(ObjectItem& item, const SetAttributes&, int64_t time) const;

    DataOp* take_op(Object& o, uint64_t first, uint64_t last, bool exclusive);
    void schedule(Object& o);
    void unpin(Object& o);
    void run(DataOp& op);
    void part_done(DataOp& op, Result<void> result);
    void read_step(DataOp& op);
    void read_finish(DataOp& op);
    void write_step(DataOp& op);
    void load_edge(DataOp& op, int edge, uint64_t block);
    void write_merge(DataOp& op);
    void write_commit(DataOp& op);
    void resize_step(DataOp& op);
    void resize_merge(DataOp& op);
    void resize_commit(DataOp& op);
    Result<void> allocate(DataOp& op, uint32_t count, uint64_t reserve);
    void give_back(DataOp& op);
    void out_of_space(DataOp& op);
    uint64_t reservable(VnodeId vnode) const;
    uint64_t grant(Holder, VnodeId, uint64_t had, uint64_t more);
    void submit_runs(DataOp& op);
    bool verify(const DataOp& op, uint32_t disk_block, Bytes block);
    void finish(DataOp& op, Result<size_t> result);
    void add_extents(DataOp& op);

    void maintain();
    void reap();

    struct FreedRun {
        uint32_t first;
        uint32_t count;
    };
    std::vector<FreedRun> freed_;
    std::deque<Function<bool(const Error*), 448>> waiting_;
    std::vector<std::unique_ptr<DataOp>> idle_ops_;
    std::deque<DataOp*> commit_waiting_;
    std::deque<FileId> doomed_;
    uint64_t unflushed_bytes_ = 0;
    bool pumping_ = false;
    bool pump_again_ = false;
    bool committing_ = false;
    bool budget_logged_ = false;
};

template <typename T, typename Body>
void Engine::change(Done<T> done, Body body) {
    if (waiting_.empty() && can_commit()) {
        Result<void> allowed = may_change();
        if (!allowed) return done(Fail(allowed.error()));
        done(body());
        return;
    }
    wait_or_run(
        [this, done = std::move(done), body = std::move(body)](const Error* refused) mutable {
            if (refused) {
                done(Fail(*refused));
                return true;
            }
            if (!can_commit()) return false;
            Result<void> allowed = may_change();
            if (!allowed)
                done(Fail(allowed.error()));
            else
                done(body());
            return true;
        });
}

} // namespace tessera::storage
