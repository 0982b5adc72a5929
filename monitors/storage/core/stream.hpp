// A stream of records in checksummed blocks (StreamBlock): the log and the snapshots.
//
// StreamWriter packs records into block buffers that its owner supplies; StreamReader takes blocks
// in order and hands out the records in them. Neither does I/O.
#pragma once

#include <vector>

#include "monitors/storage/core/disk_format.hpp"
#include "monitors/storage/core/types.hpp"

namespace tessera::storage {

struct StreamIdentity {
    uint32_t magic = 0;
    uint64_t store = 0;
    uint64_t epoch = 0;
};

class StreamWriter {
  public:
    void start(const StreamIdentity& identity, uint64_t sequence) {
        identity_ = identity;
        sequence_ = sequence;
    }
    uint64_t sequence() const { return sequence_; } // of the open or next block
    bool open() const { return block_ != nullptr; }

    // Appends a record. next_block(sequence) -> std::byte* is called for each block it needs;
    // blocks that become full are sealed. durable is noted in those.
    template <typename NextBlock>
    void append(Bytes items, uint64_t lsn, uint64_t durable, NextBlock&& next_block) {
        RecordHeader header = make_header(items, lsn);
        for (Bytes part : {bytes_of(header), items}) {
            while (!part.empty()) {
                if (!block_) begin(next_block(sequence_));
                size_t n = std::min(part.size(), kStreamPayload - used_);
                std::memcpy(block_ + sizeof(StreamBlock) + used_, part.data(), n);
                used_ += n;
                part = part.subspan(n);
                if (used_ == kStreamPayload) seal(durable);
            }
        }
    }
    // An empty block that only says what is durable.
    void append_marker(uint64_t durable, std::byte* block) {
        begin(block);
        seal(durable);
    }
    // Ends the open block, if there is one.
    void seal(uint64_t durable);

    static size_t blocks_for(size_t items) { // at most, from any position
        return (items + sizeof(RecordHeader) + kStreamPayload - 1) / kStreamPayload + 1;
    }

  private:
    static RecordHeader make_header(Bytes items, uint64_t lsn);
    void begin(std::byte* block);

    StreamIdentity identity_;
    uint64_t sequence_ = 0;
    std::byte* block_ = nullptr;
    size_t used_ = 0;
};

struct StreamRecord {
    uint64_t lsn = 0;
    uint64_t sequence = 0; // of the block in which it ends
    std::vector<std::byte> items;
};

class StreamReader {
  public:
    StreamReader(uint32_t magic, uint64_t store, uint64_t minimum_epoch, uint64_t sequence)
        : magic_(magic), store_(store), epoch_(minimum_epoch), sequence_(sequence) {}

    uint64_t sequence() const { return sequence_; } // of the block wanted next
    uint64_t epoch() const { return epoch_; }
    uint64_t durable() const { return durable_; } // the highest claim met

    // False: this is not the block wanted next (torn, old, or foreign). Error Malformed: it is, and
    // its content makes no sense. Records completed by it are appended to `out`.
    Result<bool> feed(Bytes block, std::vector<StreamRecord>& out);
    // Whether it is a sound block of this stream with that sequence; and its claim of durability.
    bool sound(Bytes block, uint64_t sequence, uint64_t* durable = nullptr) const;

  private:
    uint32_t magic_;
    uint64_t store_;
    uint64_t epoch_;
    uint64_t sequence_;
    uint64_t durable_ = 0;
    uint64_t last_lsn_ = 0;
    std::vector<std::byte> partial_; // header and items of a record that goes on in the next block
};

// Checksum of a block that holds T at its start, with T's checksum field read as zero.
uint32_t block_checksum(Bytes block, size_t checksum_offset);

} // namespace tessera::storage
