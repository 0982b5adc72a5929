#include "monitors/storage/core/engine.hpp"

#include "base/ref.hpp"

namespace tessera::storage {

Engine::Engine(env::BlockDevice& raw, Clock& c, const MountOptions& o)
    : clock(c), options(o), device(raw), log(device, *this), checkpointer(*this) {
    for (size_t i = 0; i < kDataOps; i++)
        idle_ops_.push_back(std::make_unique<DataOp>());
}

Engine::~Engine() {
    ASSERT(idle_ops_.size() == kDataOps);
    if (index) index->set_listener(nullptr);
}

Result<Object*> Engine::object(ObjectRef ref) const {
    Object* o = index->find(ref);
    if (!o) return Fail(Error::Stale);
    return o;
}

Result<Object*> Engine::directory(ObjectRef ref) const {
    Object* o = TRY(object(ref));
    if (!o->is_directory()) return Fail(Error::NotDirectory);
    return o;
}

Attributes Engine::attributes(const Object& o) const {
    return o.attributes(o.is_directory() ? index->find(o.parent) : nullptr);
}

bool Engine::permitted(const Credentials& who, const Object& o, uint8_t mask) {
    if (who.uid == 0) return !(mask & kExecute) || o.is_directory() || (o.mode & 0111);
    uint32_t bits;
    if (who.uid == o.uid) {
        bits = o.mode >> 6;
    } else {
        bool member = who.gid == o.gid;
        for (uint32_t g : who.groups)
            member |= g == o.gid;
        bits = member ? o.mode >> 3 : o.mode;
    }
    return (bits & mask) == mask;
}

ObjectItem Engine::item_of(const Object& o) {
    ObjectItem i;
    i.object = o.ref;
    i.type = o.type;
    i.mode = o.mode;
    i.uid = o.uid;
    i.gid = o.gid;
    i.nlink = o.nlink;
    i.vnode = o.vnode;
    i.size = o.size;
    i.device = o.device;
    i.atime = o.atime;
    i.mtime = o.mtime;
    i.ctime = o.ctime;
    i.parent = o.parent;
    if (o.directory) i.next_cookie = o.directory->next_cookie;
    i.target = o.target;
    return i;
}

Result<void> Engine::may_change() const {
    if (options.read_only) return Fail(Error::ReadOnly);
    if (log.failed()) return Fail(Error::Io);
    return {};
}

Result<void> Engine::room_for(size_t memory, size_t snapshot_bytes, uint64_t own) {
    uint64_t reserved = reservations.total() - std::min(reservations.total(), own);
    memory += reserved * kMemoryPerBlock;
    snapshot_bytes += reserved * kSnapshotPerBlock;
    size_t used = index->memory() + PathCache::memory();
    // A tenth of the area is left for block headers and padding.
    uint64_t area = uint64_t{header.snapshot_blocks} * kStreamPayload / 10 * 9;
    bool memory_full = used + memory > options.memory_budget;
    if (!memory_full && index->snapshot_bytes() + snapshot_bytes <= area) {
        budget_logged_ = false;
        return {};
    }
    if (!budget_logged_) {
        budget_logged_ = true;
        if (memory_full)
            LOG(Warning, "store", "index uses %zu KiB of its %zu KiB budget: no space for more",
                used >> 10, options.memory_budget >> 10);
        else
            LOG(Warning, "store", "metadata area is full (%zu KiB): no space for more objects",
                index->snapshot_bytes() >> 10);
    }
    return Fail(Error::NoSpace);
}

void Engine::commit(std::initializer_list<Object*> touched) {
    if (record.empty()) return;
    committing_ = true;
    freed_.clear();
    Result<void> applied = index->apply(record.bytes());
    ASSERT(applied); // the record was built from the index it is applied to
    log.append(record.bytes());
    record.clear();
    committing_ = false;
    for (const FreedRun& run : freed_)
        allocator->free_later(run.first, run.count, log.sequence());
    for (Object* o : touched)
        o->last_record = log.sequence();
    maintain();
}

void Engine::remember(const Caller& caller, ObjectRef result) {
    if (caller.request.sequence) record.reply({caller.request, result});
}

bool Engine::on_way(const Object& from, const Object* ancestor) const {
    const Object* at = &from;
    for (uint64_t depth = 0; at && depth <= index->objects(); depth++) {
        if (at == ancestor) return true;
        if (at->parent == at->ref.id) return false;
        at = index->find(at->parent);
    }
    return false;
}

void Engine::wait_or_run(Function<bool(const Error*), 448> attempt) {
    if (waiting_.empty() && attempt(nullptr)) return;
    if (waiting_.size() >= kMaxWaiting) {
        Error full = Error::Full;
        attempt(&full);
        return;
    }
    waiting_.push_back(std::move(attempt));
    maintain();
}

void Engine::pump() {
    if (!allocator) return; // still mounting
    if (pumping_ || committing_) {
        pump_again_ = true;
        return;
    }
    pumping_ = true;
    do {
        pump_again_ = false;
        allocator->release(log.marked());
        while (!commit_waiting_.empty() && can_commit()) {
            DataOp* op = commit_waiting_.front();
            commit_waiting_.pop_front();
            op->kind == DataOp::Kind::Write ? write_commit(*op) : resize_commit(*op);
        }
        while (!waiting_.empty()) {
            auto attempt = std::move(waiting_.front());
            waiting_.pop_front();
            if (!attempt(nullptr)) {
                waiting_.push_front(std::move(attempt));
                break;
            }
        }
        reap();
    } while (pump_again_);
    pumping_ = false;
    maintain();
}

// Keeps the log short and what a power cut may cost small.
void Engine::maintain() {
    if (log.failed() || options.read_only || !allocator) return;
    bool again = !checkpointer.failed() || log.live() > log.capacity() / 4 * 3;
    if (!checkpointer.active() && again && log.live() > log.capacity() / 2)
        checkpointer.start([](Result<void>) {});
    if (!log.syncing() && (unflushed_bytes_ > options.sync_after_bytes ||
                           log.sequence() - log.durable() > kMaxUnflushedLog)) {
        sync([](Result<void>) {});
    }
}

void Engine::sync(Log::Waiter done) {
    if (options.read_only) return done({});
    unflushed_bytes_ = 0;
    log.sync(std::move(done));
}

void Engine::log_failed(Error e) {
    LOG(Failure, "store", "writing the log failed (%s): no more changes until it is mounted again",
        describe(e).data());
    pump();
}

void Engine::blocks_freed(uint32_t disk_block, uint32_t count) {
    if (committing_)
        freed_.push_back({disk_block, count});
    else // a dead object whose last operation ended
        allocator->free_later(disk_block, count, log.sequence());
}

void Engine::object_leaves(Object& object) {
    checkpointer.object_leaves(object);
}

void Engine::write_header(DeviceQueue::Completion done) {
    header.header_version = header.header_version + 1;
    struct Write final : RefCounted {
        std::vector<std::byte> block = std::vector<std::byte>(kBlockSize);
        DeviceQueue::Completion done;
    };
    auto write = make_ref<Write>();
    write->done = std::move(done);
    header.checksum = 0;
    store(MutableBytes(write->block), header);
    header.checksum = block_checksum(write->block, offsetof(StoreHeader, checksum));
    store(MutableBytes(write->block), header);
    uint64_t slot = header.header_version % 2;
    device.write(slot, write->block, [this, write, slot](Result<void> r) {
        if (!r) return write->done(r);
        device.write(slot + 2, write->block, [this, write](Result<void> r) {
            if (!r) return write->done(r);
            device.flush([write](Result<void> r) { write->done(r); });
        });
    });
}

} // namespace tessera::storage
