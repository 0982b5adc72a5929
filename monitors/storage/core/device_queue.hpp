// DeviceQueue: one partition of a block device, without its limits. Cuts transfers at the device's
// maximum, keeps what the device cannot take yet, and delivers completions one after another, never
// nested in each other, however deep a synchronous device would recurse. A completion may destroy
// it. Owned by the engine; what is under way is bounded by its callers (a few hundred requests).
#pragma once

#include <deque>

#include "base/list.hpp"
#include "base/ref.hpp"
#include "monitors/storage/core/disk_format.hpp"
#include "monitors/storage/core/types.hpp"

namespace tessera::storage {

class DeviceQueue {
  public:
    using Completion = Function<void(Result<void>), 64>;

    explicit DeviceQueue(env::BlockDevice& device);
    ~DeviceQueue();
    DeviceQueue(const DeviceQueue&) = delete;

    void set_partition(uint64_t first_block, uint64_t block_count);

    // `block` counts from the partition's start. Out of range: Range in the completion.
    void read(uint64_t block, MutableBytes into, Completion done);
    void write(uint64_t block, Bytes data, Completion done);
    void flush(Completion done);

    size_t in_flight() const { return in_flight_; }
    uint64_t blocks_read = 0, blocks_written = 0, flushes = 0;

  private:
    struct Transfer { // what the caller asked for; made of one or more pieces
        Completion done;
        size_t pieces = 0;
        Result<void> result;
    };
    struct Piece {
        env::BlockRequest request;
        Transfer* transfer = nullptr;
    };
    void start(env::BlockOp op, uint64_t block, MutableBytes buffer, Completion done);
    void submit(Piece* piece);
    void completed(Piece* piece, Result<void> result);
    void drain();

    env::BlockDevice& device_;
    uint64_t first_ = 0;
    uint64_t count_;
    size_t in_flight_ = 0; // pieces given to the device
    bool draining_ = false;
    bool* destroyed_ = nullptr;      // set by the destructor while drain() runs a completion
    std::deque<Piece*> waiting_;     // the device was full
    std::deque<Transfer*> finished_; // completions to deliver
    std::deque<Own<Piece>> spare_pieces_;
    std::deque<Own<Transfer>> spare_transfers_;
};

} // namespace tessera::storage
