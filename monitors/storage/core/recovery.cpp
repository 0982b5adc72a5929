#include "monitors/storage/core/recovery.hpp"

#include "monitors/storage/core/engine.hpp"
#include "monitors/storage/core/verify.hpp"

namespace tessera::storage {
namespace {

template <typename T>
bool sound(Bytes block, uint64_t magic) {
    T t = load<T>(block);
    return t.magic == magic && t.checksum == block_checksum(block, offsetof(T, checksum));
}

// Collects the blocks that a record maps.
class ExtentCollector final : public ItemVisitor {
  public:
    Function<void(uint32_t, uint32_t), 32> found;
    Result<void> put_extent(const ExtentItem& e) override {
        for (uint32_t i = 0; i < e.count; i++)
            found(e.disk_block + i, e.checksum(i));
        return {};
    }
    Result<void> put_object(const ObjectItem&) override { return {}; }
    Result<void> touch(FileId, uint64_t, int64_t, int64_t) override { return {}; }
    Result<void> drop_object(FileId) override { return {}; }
    Result<void> put_entry(const EntryItem&) override { return {}; }
    Result<void> drop_entry(FileId, std::string_view) override { return {}; }
    Result<void> punch(FileId, uint32_t, uint32_t) override { return {}; }
    Result<void> put_hold(FileId, Holder) override { return {}; }
    Result<void> drop_hold(FileId, Holder) override { return {}; }
    Result<void> fence(Holder) override { return {}; }
    Result<void> put_root(VnodeId, FileId, uint64_t) override { return {}; }
    Result<void> drop_root(VnodeId) override { return {}; }
    Result<void> reply(const ReplyItem&) override { return {}; }
    Result<void> next_id(FileId) override { return {}; }
};

} // namespace

Recovery::Recovery(env::BlockDevice& device, Clock& clock, const MountOptions& options,
                   Finished done)
    : raw_(device),
      engine_(std::make_unique<Engine>(device, clock, options)),
      done_(std::move(done)),
      buffer_(kBuffer * kBlockSize) {}

Recovery::~Recovery() = default;

void Recovery::fail(Error e, const char* why) {
    LOG(Failure, "store", "mount: %s (%s)", why, describe(e).data());
    Finished done = std::move(done_);
    delete this;
    done(Fail(e));
}

void Recovery::read(uint64_t block, size_t count, Step next) {
    engine_->device.read(block, MutableBytes(buffer_).first(count * kBlockSize),
                         [this, next](Result<void> r) {
                             if (!r) return fail(r.error(), "the device cannot be read");
                             (this->*next)();
                         });
}

void Recovery::start() {
    if (raw_.block_count() < Store::kMinBlocks)
        return fail(Error::Malformed, "the device is too small");
    read(0, 1, &Recovery::check_superblock);
}

void Recovery::check_superblock() {
    if (!sound<Superblock>(block(0), kSuperblockMagic)) {
        if (second_copy_) return fail(Error::Malformed, "no superblock: not a store");
        second_copy_ = true;
        return read(raw_.block_count() - 1, 1, &Recovery::check_superblock);
    }
    superblock_ = load<Superblock>(block(0));
    const Superblock& s = superblock_;
    if (s.version != kVersion || s.features_required != 0 || s.checksum_kind != kChecksumXxh64 ||
        s.block_size != kBlockSize)
        return fail(Error::VersionMismatch,
                    "made by another version, or needs features unknown here");
    if (s.block_count > raw_.block_count() || s.partition_table[0] >= s.block_count ||
        s.partition_table[1] >= s.block_count)
        return fail(Error::Malformed, "the device is smaller than the store on it");
    second_copy_ = false;
    read(s.partition_table[0], 1, &Recovery::check_partitions);
}

void Recovery::check_partitions() {
    PartitionTable t = load<PartitionTable>(block(0));
    bool ours = std::memcmp(t.uuid, superblock_.uuid, sizeof t.uuid) == 0;
    if (!sound<PartitionTable>(block(0), kPartitionMagic) || !ours || t.count > kMaxPartitions) {
        if (second_copy_) return fail(Error::Corrupt, "both partition tables are damaged");
        second_copy_ = true;
        return read(superblock_.partition_table[1], 1, &Recovery::check_partitions);
    }
    for (uint32_t i = 0; i < t.count; i++) {
        const PartitionEntry& e = t.entries[i];
        if (e.type != static_cast<uint32_t>(PartitionType::FileStore)) continue;
        if (e.first_block > superblock_.block_count ||
            e.block_count > superblock_.block_count - e.first_block || e.block_count < kHeaderSlots)
            return fail(Error::Malformed, "a partition ends outside the device");
        engine_->device.set_partition(e.first_block, e.block_count);
        engine_->header.block_count = e.block_count;
        return read(0, kHeaderSlots, &Recovery::check_header);
    }
    fail(Error::Malformed, "no file-store partition");
}

void Recovery::check_header() {
    const StoreHeader* best = nullptr;
    StoreHeader headers[kHeaderSlots];
    for (size_t i = 0; i < kHeaderSlots; i++) {
        headers[i] = load<StoreHeader>(block(i));
        bool ours = std::memcmp(headers[i].uuid, superblock_.uuid, sizeof superblock_.uuid) == 0;
        if (!ours || !sound<StoreHeader>(block(i), kHeaderMagic)) continue;
        if (!best || headers[i].header_version > best->header_version) best = &headers[i];
    }
    if (!best) return fail(Error::Corrupt, "all headers of the file store are damaged");
    if (best->version != kVersion)
        return fail(Error::VersionMismatch, "another version of file store");
    if (!use_header(*best)) return fail(Error::Malformed, "the file store's layout makes no sense");
    Engine& e = *engine_;
    uint64_t store = load<Le64>(Bytes(e.header.uuid, 8));
    reader_ = std::make_unique<StreamReader>(kSnapshotMagic, store, e.header.checkpoint, 0);
    read_snapshot();
}

Result<void> Recovery::use_header(const StoreHeader& h) {
    uint64_t blocks = engine_->header.block_count;
    auto inside = [blocks](uint64_t first, uint64_t count) {
        return first >= kHeaderSlots && first <= blocks && count <= blocks - first;
    };
    if (h.block_count != blocks || !inside(h.log_first, h.log_blocks) ||
        !inside(h.snapshot_first[0], h.snapshot_blocks) ||
        !inside(h.snapshot_first[1], h.snapshot_blocks) || !inside(h.data_first, h.data_blocks))
        return Fail(Error::Malformed);
    if (h.log_blocks < 192 || h.data_blocks == 0 || h.data_blocks > UINT32_MAX ||
        h.snapshot_used > h.snapshot_blocks || h.log_required < h.log_start ||
        h.log_required - h.log_start > h.log_blocks || h.log_start > UINT64_MAX / 2 ||
        h.mount_epoch >= UINT32_MAX)
        return Fail(Error::Malformed);
    uint64_t memory = h.data_blocks / kBlockSize * 32; // at least; the rest is counted as it comes
    if (memory > engine_->options.memory_budget) return Fail(Error::NoMemory);
    engine_->header = h;
    engine_->index = std::make_unique<Index>(h.data_blocks, engine_->options.reply_table_entries);
    return {};
}

bool Recovery::apply(Bytes items) {
    Result<void> applied = engine_->index->apply(items);
    if (!applied) {
        fail(Error::Corrupt, "a record makes no sense");
        return false;
    }
    if (engine_->index->memory() > engine_->options.memory_budget) {
        fail(Error::NoMemory, "the index does not fit the memory budget");
        return false;
    }
    return true;
}

void Recovery::read_snapshot() {
    const StoreHeader& h = engine_->header;
    uint64_t at = reader_->sequence();
    if (at == h.snapshot_used) return start_log();
    chunk_ = std::min<uint64_t>(kBuffer, h.snapshot_used - at);
    read(h.snapshot_first[h.checkpoint % 2] + at, chunk_, &Recovery::apply_snapshot);
}

void Recovery::apply_snapshot() {
    for (size_t i = 0; i < chunk_; i++) {
        records_.clear();
        Result<bool> fed = reader_->feed(block(i), records_);
        if (!fed || !*fed || reader_->epoch() != engine_->header.checkpoint)
            return fail(Error::Corrupt, "the snapshot is damaged");
        for (StreamRecord& r : records_)
            if (!apply(r.items)) return;
    }
    read_snapshot();
}

void Recovery::start_log() {
    const StoreHeader& h = engine_->header;
    uint64_t store = load<Le64>(Bytes(h.uuid, 8));
    reader_ = std::make_unique<StreamReader>(kLogMagic, store, h.log_minimum_epoch, h.log_start);
    read_log();
}

uint64_t Recovery::log_place(uint64_t sequence) const {
    return engine_->header.log_first + sequence % engine_->header.log_blocks;
}

void Recovery::read_log() {
    const StoreHeader& h = engine_->header;
    uint64_t at = reader_->sequence();
    if (at - h.log_start >= h.log_blocks) return judge_tail(); // full to the last block
    chunk_ = std::min<uint64_t>(
        {kBuffer, h.log_blocks - at % h.log_blocks, h.log_start + h.log_blocks - at});
    read(log_place(at), chunk_, &Recovery::feed_log);
}

void Recovery::feed_log() {
    for (size_t i = 0; i < chunk_; i++) {
        records_.clear();
        Result<bool> fed = reader_->feed(block(i), records_);
        if (!fed) return fail(Error::Corrupt, "a block of the log makes no sense");
        if (!*fed) {
            if (reader_->sequence() < engine_->header.log_required)
                return fail(Error::Corrupt,
                            "the log is damaged where the last checkpoint needs it");
            ahead_ = reader_->sequence() + 1;
            return look_ahead();
        }
        for (StreamRecord& r : records_) {
            lsn_ = r.lsn;
            tail_.push_back(std::move(r));
        }
        uint64_t durable = std::max<uint64_t>(reader_->durable(), engine_->header.log_required);
        while (!tail_.empty() && tail_.front().sequence < durable) {
            if (!apply(tail_.front().items)) return;
            tail_.pop_front();
        }
        if (tail_.size() > 100000)
            return fail(Error::Corrupt, "the log never says what was durable");
    }
    read_log();
}

void Recovery::look_ahead() {
    const StoreHeader& h = engine_->header;
    uint64_t end = std::min<uint64_t>(h.log_start + h.log_blocks, reader_->sequence() + kLookAhead);
    if (ahead_ >= end) return judge_tail();
    chunk_ = std::min<uint64_t>({kBuffer, h.log_blocks - ahead_ % h.log_blocks, end - ahead_});
    read(log_place(ahead_), chunk_, &Recovery::check_ahead);
}

void Recovery::check_ahead() {
    for (size_t i = 0; i < chunk_; i++, ahead_++) {
        uint64_t durable = 0;
        if (reader_->sound(block(i), ahead_, &durable) && durable > reader_->sequence()) {
            LOG(Failure, "store", "log block %llu is damaged, but was durable",
                static_cast<unsigned long long>(reader_->sequence()));
            return fail(Error::Corrupt, "the log is damaged in the middle");
        }
    }
    look_ahead();
}

void Recovery::judge_tail() {
    any_tail_ |= !tail_.empty();
    // Records without data are applied on the way; the first with data is read.
    while (!tail_.empty()) {
        wanted_.clear();
        wanted_at_ = 0;
        ExtentCollector collector;
        uint64_t limit = engine_->header.data_blocks;
        bool in_range = true;
        collector.found = [this, limit, &in_range](uint32_t block, uint32_t sum) {
            in_range &= block < limit;
            wanted_.push_back({block, sum});
        };
        if (!read_record(tail_.front().items, collector) || !in_range)
            return fail(Error::Corrupt, "a record makes no sense");
        if (!wanted_.empty()) return read_tail_piece();
        if (!apply(tail_.front().items)) return;
        tail_.pop_front();
    }
    build();
}

void Recovery::read_tail_piece() {
    if (wanted_at_ == wanted_.size()) {
        if (!apply(tail_.front().items)) return;
        tail_.pop_front();
        return judge_tail();
    }
    size_t n = 1;
    while (n < kBuffer && wanted_at_ + n < wanted_.size() &&
           wanted_[wanted_at_ + n].disk_block == wanted_[wanted_at_].disk_block + n)
        n++;
    chunk_ = n;
    read(engine_->header.data_first + wanted_[wanted_at_].disk_block, n,
         &Recovery::check_tail_piece);
}

void Recovery::check_tail_piece() {
    for (size_t i = 0; i < chunk_; i++) {
        if (checksum(block(i)) == wanted_[wanted_at_ + i].checksum) continue;
        LOG(Warning, "store",
            "mount: data of the last unsynced writes is missing; %zu records dropped",
            tail_.size());
        dropped_ = true;
        tail_.clear();
        return build();
    }
    wanted_at_ += chunk_;
    read_tail_piece();
}

void Recovery::build() {
    Engine& e = *engine_;
    e.index->count_usage();
    auto allocator = std::make_unique<Allocator>(e.header.data_blocks);
    uint64_t problems = verify_index(
        *e.index, *allocator, [](const char* sentence) { LOG(Failure, "store", "%s", sentence); });
    if (problems) return fail(Error::Corrupt, "the metadata contradicts itself");
    e.allocator = std::move(allocator);
    e.index->set_listener(&e);
    if (e.options.read_only) return finish();
    e.header.mount_epoch = e.header.mount_epoch + 1;
    e.write_header([this](Result<void> r) {
        if (!r) return fail(r.error(), "the device cannot be written");
        open_for_writing();
    });
}

void Recovery::open_for_writing() {
    Engine& e = *engine_;
    const StoreHeader& h = e.header;
    uint64_t next = reader_->sequence();
    e.log.start({.first_block = h.log_first,
                 .blocks = h.log_blocks,
                 .store = load<Le64>(Bytes(h.uuid, 8)),
                 .epoch = h.mount_epoch,
                 .start = h.log_start,
                 .next = next,
                 .lsn = lsn_});
    // Unnamed and unheld: left by a removed root, a fence or a removal that the crash cut short.
    for (Object& o : e.index->all())
        if (o.nlink == 0 && o.holds.empty()) e.begin_reaping(o);
    auto opened = [this](Result<void> r) {
        if (r) return finish();
        // The engine's log is still at work with this failure: end it from a completion of its own.
        engine_->device.flush(
            [this](Result<void>) { fail(Error::Io, "the device cannot be written"); });
    };
    if (dropped_) return e.checkpointer.start(opened);
    // From here on blocks that the tail freed may be reused: the log has to say that it is durable.
    if (any_tail_) return e.log.mark(opened);
    finish();
}

void Recovery::finish() {
    std::unique_ptr<Engine> engine = std::move(engine_);
    Finished done = std::move(done_);
    Engine& e = *engine;
    delete this;
    e.pump(); // resumes what is to be reaped
    done(std::move(engine));
}

} // namespace tessera::storage
