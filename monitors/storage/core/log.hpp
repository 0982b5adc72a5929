// Log: the metadata log on the disk. Records are packed into blocks in a ring buffer in memory;
// blocks are written in batches, as soon as enough are full or a sync asks, and always in new
// places, so an earlier block is never touched by a later one. One flush makes a whole group of
// syncs durable.
//
// Sequences number blocks from the format on; block n lies at log_first + n % log_blocks. Three of
// them matter besides the next one: durable() (flushed: below it nothing can be lost), marked() (a
// durable block says that everything below this is durable, so recovery will not go back behind
// it), and start() (the first that recovery replays).
#pragma once

#include <memory>
#include <vector>

#include "monitors/storage/core/device_queue.hpp"
#include "monitors/storage/core/stream.hpp"

namespace tessera::storage {

class LogListener {
  public:
    virtual void log_progressed() = 0; // room in the buffer, or durable() or marked() moved
    virtual void log_failed(Error e) = 0;

  protected:
    ~LogListener() = default;
};

class Log {
  public:
    static constexpr uint64_t kRing = 128;   // blocks buffered
    static constexpr uint64_t kBatch = 32;   // full blocks that start a write
    static constexpr uint64_t kReserve = 64; // blocks left for a checkpoint to finish with

    using Waiter = Function<void(Result<void>), 128>;

    Log(DeviceQueue& device, LogListener& listener);

    struct Place {
        uint64_t first_block = 0;
        uint64_t blocks = 0;
        uint64_t store = 0;
        uint64_t epoch = 0;
        uint64_t start = 0; // first sequence to replay
        uint64_t next = 0;  // where to go on; everything below is durable
        uint64_t lsn = 0;   // last one used
    };
    void start(const Place& place);

    bool can_append(size_t items) const;
    void append(Bytes items);
    uint64_t sequence() const {
        return writer_.sequence();
    } // of the block that ends the last record, or +1
    uint64_t durable() const { return durable_; }
    uint64_t marked() const { return marked_; }
    uint64_t start() const { return start_; }
    uint64_t live() const { return writer_.sequence() - start_; }
    uint64_t capacity() const { return place_.blocks; }
    uint64_t last_lsn() const { return lsn_; }
    bool syncing() const { return !round_.empty() || !next_round_.empty(); }
    bool failed() const { return failed_; }
    void fail(Error e);

    // Completes when everything appended so far is durable.
    void sync(Waiter done);
    bool clean() const { return !writer_.open() && durable_ == writer_.sequence(); }
    // Writes an empty block, so that marked() catches up with durable(); then done.
    void mark(Waiter done);
    // Ends the open block: what follows is in blocks from the returned sequence on.
    uint64_t cut();
    // A checkpoint made everything before `sequence` unnecessary.
    void truncate(uint64_t sequence);
    uint64_t records = 0;

  private:
    std::byte* slot(uint64_t sequence) { return ring_.get() + sequence % kRing * kBlockSize; }
    uint64_t noted(uint64_t sequence); // the claim of durability in a buffered block
    void pump();
    void write_sealed();
    void flush();
    void wrote(uint64_t first, uint64_t count, Result<void> result);

    DeviceQueue& device_;
    LogListener& listener_;
    Place place_;
    StreamWriter writer_;
    std::unique_ptr<std::byte[]> ring_;
    std::array<bool, kRing> written_flags_ = {};
    uint64_t submitted_ = 0; // blocks below have been given to the device
    uint64_t written_ = 0;   // blocks below have been written
    uint64_t durable_ = 0;
    uint64_t marked_ = 0;
    uint64_t start_ = 0;
    uint64_t lsn_ = 0;
    bool flushing_ = false;
    bool failed_ = false;
    Error error_ = Error::Io;
    uint64_t round_target_ = 0; // of the sync round under way; 0: none
    std::vector<Waiter> round_;
    std::vector<Waiter> next_round_;
};

} // namespace tessera::storage
