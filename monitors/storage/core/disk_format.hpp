// What is on the disk, little-endian. Everything is in blocks of 4 KiB.
//
//   device     block 0 superblock, block 1 partition table, partitions ..., the last two blocks are
//   the
//              copies (partition table, then superblock)
//   partition  (file store) blocks 0..3 headers, log, snapshot area 0, snapshot area 1, data
//
// Block numbers inside a partition count from its start, those in extents from the data area's.
// A header version n is written to slots n%2 and 2+n%2, so a torn write leaves version n-1 and one
// bad block leaves n. Log and snapshots are streams of blocks (StreamBlock) that carry records; a
// record is a RecordHeader and items (record.hpp), may cross blocks, and starts afresh after a
// change of epoch.
//
// Each checksum covers its whole block, or its record from `lsn` on, with the checksum field as
// zero.
#pragma once

#include <cstddef>

#include "base/endian.hpp"
#include "monitors/env/block_device.hpp"

namespace tessera::storage {

using env::kBlockSize;

inline constexpr uint64_t kSuperblockMagic = 0x3153415245535354ull; // "TSSERAS1"
inline constexpr uint64_t kPartitionMagic = 0x3150415245535354ull;  // "TSSERAP1"
inline constexpr uint64_t kHeaderMagic = 0x3148415245535354ull;     // "TSSERAH1"
inline constexpr uint32_t kLogMagic = 0x474f4c54;                   // "TLOG"
inline constexpr uint32_t kSnapshotMagic = 0x504e5354;              // "TSNP"
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kMaxPartitions = 32;
inline constexpr uint64_t kHeaderSlots = 4;

enum class PartitionType : uint32_t { None = 0, FileStore = 1, Raw = 2 };

struct Superblock {
    Le64 magic;
    Le32 checksum;
    Le32 version;
    Le64 features_compatible; // unknown bits: go on
    Le64 features_required;   // unknown bits: refuse to mount
    std::byte uuid[16] = {};
    Le64 block_count;
    Le32 block_size;
    Le32 checksum_kind;
    Le64 partition_table[2]; // where its copies are
};
static_assert(sizeof(Superblock) == 80 && offsetof(Superblock, uuid) == 32 &&
              offsetof(Superblock, partition_table) == 64);

struct PartitionEntry {
    Le32 type;
    Le32 flags;
    Le64 first_block;
    Le64 block_count;
    char name[24] = {};
};
static_assert(sizeof(PartitionEntry) == 48);

struct PartitionTable {
    Le64 magic;
    Le32 checksum;
    Le32 count;
    std::byte uuid[16] = {}; // the superblock's
    PartitionEntry entries[kMaxPartitions];
};
static_assert(sizeof(PartitionTable) == 32 + kMaxPartitions * 48 &&
              sizeof(PartitionTable) <= kBlockSize);

struct StoreHeader {
    Le64 magic;
    Le32 checksum;
    Le32 version;
    Le64 header_version; // the highest valid one counts
    std::byte uuid[16] = {};
    Le64 block_count; // of the partition
    Le64 log_first;
    Le64 log_blocks;
    Le64 snapshot_first[2];
    Le64 snapshot_blocks; // of each area
    Le64 data_first;
    Le64 data_blocks;
    Le64 mount_epoch;       // rises with each mount that writes; epoch of its log blocks
    Le64 checkpoint;        // number of the checkpoint that is in force
    Le64 snapshot_used;     // its blocks, in area checkpoint % 2
    Le64 log_start;         // sequence of the first log block to replay over it
    Le64 log_minimum_epoch; // log blocks of older epochs do not count
    Le64 log_required;      // blocks below are part of the checkpoint: missing ones are damage
};
static_assert(sizeof(StoreHeader) == 152 && offsetof(StoreHeader, log_first) == 48 &&
              offsetof(StoreHeader, mount_epoch) == 104);

struct StreamBlock {
    Le32 magic;
    Le32 checksum;
    Le64 store; // first half of the uuid
    Le64 epoch; // log: mount epoch; snapshot: checkpoint number
    Le64 sequence;
    Le64 durable; // log: all blocks below this sequence were durable when this one was sealed
    Le32 used;    // bytes of payload
    Le32 reserved;
};
static_assert(sizeof(StreamBlock) == 48 && offsetof(StreamBlock, used) == 40);
inline constexpr size_t kStreamPayload = kBlockSize - sizeof(StreamBlock);

struct RecordHeader {
    Le32 length; // of the items
    Le32 checksum;
    Le64 lsn;
};
static_assert(sizeof(RecordHeader) == 16);

// Items of one record; an operation that needs more is cut into several records.
inline constexpr size_t kMaxRecord = 16384;

} // namespace tessera::storage
