// Store::format: superblocks, partition table, and a file store without objects.
#include "base/log.hpp"
#include "monitors/storage/core/checksum.hpp"
#include "monitors/storage/core/device_queue.hpp"
#include "monitors/storage/core/store.hpp"
#include "monitors/storage/core/stream.hpp"

namespace tessera::storage {
namespace {

struct Plan {
    Superblock superblock;
    PartitionTable table;
    StoreHeader header;
};

Result<Plan> make_plan(uint64_t blocks, const FormatOptions& options) {
    if (blocks < Store::kMinBlocks || blocks > UINT32_MAX) return Fail(Error::InvalidArgument);
    uint64_t usable = blocks - 4; // superblock and table, at both ends
    if (options.reserved_blocks > usable - (Store::kMinBlocks - 4))
        return Fail(Error::InvalidArgument);
    uint64_t store_blocks = usable - options.reserved_blocks;

    Plan p;
    p.superblock.magic = kSuperblockMagic;
    p.superblock.version = kVersion;
    p.superblock.block_count = blocks;
    p.superblock.block_size = kBlockSize;
    p.superblock.checksum_kind = kChecksumXxh64;
    p.superblock.partition_table[0] = 1;
    p.superblock.partition_table[1] = blocks - 2;
    std::memcpy(p.superblock.uuid, options.uuid.data(), 16);

    p.table.magic = kPartitionMagic;
    std::memcpy(p.table.uuid, options.uuid.data(), 16);
    auto add = [&](PartitionType type, uint64_t first, uint64_t count, std::string_view name) {
        PartitionEntry& e = p.table.entries[p.table.count];
        e.type = static_cast<uint32_t>(type);
        e.first_block = first;
        e.block_count = count;
        std::memcpy(e.name, name.data(), name.size());
        p.table.count = p.table.count + 1;
    };
    add(PartitionType::FileStore, 2, store_blocks, "files");
    if (options.reserved_blocks)
        add(PartitionType::Raw, 2 + store_blocks, options.reserved_blocks, "checkpoints");

    uint64_t log_blocks = options.log_blocks;
    if (log_blocks == 0)
        log_blocks = std::min<uint64_t>(std::max<uint64_t>(store_blocks / 64, 256), 8192);
    uint64_t snapshot_blocks = std::max<uint64_t>(store_blocks / 32, 64);
    uint64_t before_data = kHeaderSlots + log_blocks + 2 * snapshot_blocks;
    if (log_blocks < 192 || before_data + 256 > store_blocks) return Fail(Error::InvalidArgument);
    StoreHeader& h = p.header;
    h.magic = kHeaderMagic;
    h.version = kVersion;
    h.header_version = 1;
    std::memcpy(h.uuid, options.uuid.data(), 16);
    h.block_count = store_blocks;
    h.log_first = kHeaderSlots;
    h.log_blocks = log_blocks;
    h.snapshot_first[0] = kHeaderSlots + log_blocks;
    h.snapshot_first[1] = kHeaderSlots + log_blocks + snapshot_blocks;
    h.snapshot_blocks = snapshot_blocks;
    h.data_first = before_data;
    h.data_blocks = store_blocks - before_data;
    h.log_start = 1;
    h.log_required = 1;
    return p;
}

// Owns itself until its completion.
class Formatter {
  public:
    Formatter(env::BlockDevice& device, Done<void> done)
        : device_(device), done_(std::move(done)), blocks_(9 * kBlockSize) {}

    void start(const Plan& plan, uint64_t count) {
        put(0, plan.superblock, 0);
        put(1, plan.table, 1);
        for (size_t slot = 0; slot < kHeaderSlots; slot++)
            put(2 + slot, plan.header, 2 + slot);
        put(6, plan.table, count - 2);
        put(7, plan.superblock, count - 1);
        // What follows is zero: the first log block, so that nothing older is taken for the log.
        places_[8] = 2 + plan.header.log_first;
        next();
    }

  private:
    template <typename T>
    void put(size_t i, T value, uint64_t place) {
        MutableBytes block = MutableBytes(blocks_).subspan(i * kBlockSize, kBlockSize);
        value.checksum = 0;
        store(block, value);
        value.checksum = block_checksum(block, offsetof(T, checksum));
        store(block, value);
        places_[i] = place;
    }
    void next() {
        if (at_ == 9) {
            device_.flush([this](Result<void> r) { finish(r); });
            return;
        }
        size_t i = at_++;
        device_.write(places_[i], Bytes(blocks_).subspan(i * kBlockSize, kBlockSize),
                      [this](Result<void> r) { r ? next() : finish(r); });
    }
    void finish(Result<void> result) {
        Done<void> done = std::move(done_);
        delete this;
        done(result);
    }

    DeviceQueue device_;
    Done<void> done_;
    std::vector<std::byte> blocks_;
    uint64_t places_[9] = {};
    size_t at_ = 0;
};

} // namespace

void Store::format(env::BlockDevice& device, const FormatOptions& options, Done<void> done) {
    Result<Plan> plan = make_plan(device.block_count(), options);
    if (!plan) {
        LOG(Failure, "store",
            "cannot format: %llu blocks of 4 KiB; at least %llu (and at most 2^32) are needed",
            static_cast<unsigned long long>(device.block_count()),
            static_cast<unsigned long long>(kMinBlocks + options.reserved_blocks));
        return done(Fail(plan.error()));
    }
    (new Formatter(device, std::move(done)))->start(*plan, device.block_count());
}

} // namespace tessera::storage
