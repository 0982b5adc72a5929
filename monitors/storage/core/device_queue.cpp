#include "monitors/storage/core/device_queue.hpp"

#include <algorithm>

namespace tessera::storage {

DeviceQueue::DeviceQueue(env::BlockDevice& device)
    : device_(device), count_(device.block_count()) {}

DeviceQueue::~DeviceQueue() {
    ASSERT(in_flight_ == 0 && waiting_.empty() && finished_.empty());
    if (destroyed_) *destroyed_ = true;
}

void DeviceQueue::set_partition(uint64_t first_block, uint64_t block_count) {
    first_ = first_block;
    count_ = block_count;
}

void DeviceQueue::read(uint64_t block, MutableBytes into, Completion done) {
    blocks_read += into.size() / kBlockSize;
    start(env::BlockOp::Read, block, into, std::move(done));
}

void DeviceQueue::write(uint64_t block, Bytes data, Completion done) {
    blocks_written += data.size() / kBlockSize;
    // The device only reads a buffer it writes from; its interface has one buffer type for both.
    MutableBytes buffer(const_cast<std::byte*>(data.data()), data.size());
    start(env::BlockOp::Write, block, buffer, std::move(done));
}

void DeviceQueue::flush(Completion done) {
    flushes++;
    start(env::BlockOp::Flush, 0, {}, std::move(done));
}

void DeviceQueue::start(env::BlockOp op, uint64_t block, MutableBytes buffer, Completion done) {
    Transfer* transfer;
    if (spare_transfers_.empty()) {
        transfer = new Transfer;
    } else {
        transfer = spare_transfers_.back().release();
        spare_transfers_.pop_back();
    }
    transfer->done = std::move(done);
    transfer->result = {};
    uint64_t blocks = buffer.size() / kBlockSize;
    if (buffer.size() % kBlockSize != 0 || block > count_ || blocks > count_ - block ||
        (op != env::BlockOp::Flush && blocks == 0)) {
        transfer->result = Fail(Error::Range);
        finished_.push_back(transfer);
        drain();
        return;
    }
    uint64_t limit = std::max<uint64_t>(device_.max_transfer_blocks(), 1);
    transfer->pieces = op == env::BlockOp::Flush ? 1 : (blocks + limit - 1) / limit;
    transfer->pieces++; // ours, until all have been submitted
    do {
        uint64_t n = std::min(blocks, limit);
        Piece* piece;
        if (spare_pieces_.empty()) {
            piece = new Piece;
        } else {
            piece = spare_pieces_.back().release();
            spare_pieces_.pop_back();
        }
        piece->transfer = transfer;
        piece->request.op = op;
        piece->request.block = first_ + block;
        piece->request.buffer = buffer.first(n * kBlockSize);
        buffer = buffer.subspan(n * kBlockSize);
        block += n;
        blocks -= n;
        submit(piece);
    } while (blocks > 0);
    if (--transfer->pieces == 0) finished_.push_back(transfer);
    drain();
}

void DeviceQueue::submit(Piece* piece) {
    piece->request.done = [this, piece](Result<void> r) { completed(piece, r); };
    in_flight_++;
    Result<void> taken = waiting_.empty() ? device_.submit(piece->request) : Fail(Error::Full);
    if (taken) return;
    in_flight_--;
    if (taken.error() == Error::Full && (in_flight_ > 0 || !waiting_.empty())) {
        waiting_.push_back(piece);
        return;
    }
    in_flight_++;
    completed(piece, Fail(taken.error() == Error::Full ? Error::Io : taken.error()));
}

void DeviceQueue::completed(Piece* piece, Result<void> result) {
    ASSERT(in_flight_ > 0);
    in_flight_--;
    Transfer* transfer = piece->transfer;
    if (!result && transfer->result) transfer->result = result;
    spare_pieces_.emplace_back(
        piece); // its request is being completed: not reused before we return
    if (--transfer->pieces == 0) finished_.push_back(transfer);
    drain();
}

void DeviceQueue::drain() {
    if (draining_) return;
    draining_ = true;
    bool destroyed = false;
    destroyed_ = &destroyed;
    for (;;) {
        if (!finished_.empty()) {
            Transfer* transfer = finished_.front();
            finished_.pop_front();
            Completion done = std::move(transfer->done);
            Result<void> result = transfer->result;
            spare_transfers_.emplace_back(transfer);
            done(result);
            if (destroyed) return;
            continue;
        }
        if (waiting_.empty()) break;
        Piece* piece = waiting_.front();
        in_flight_++;
        Result<void> taken = device_.submit(piece->request);
        if (taken) {
            waiting_.pop_front();
            continue;
        }
        in_flight_--;
        if (taken.error() == Error::Full && in_flight_ > 0) break;
        waiting_.pop_front();
        in_flight_++;
        completed(piece, Fail(taken.error() == Error::Full ? Error::Io : taken.error()));
    }
    draining_ = false;
    destroyed_ = nullptr;
}

} // namespace tessera::storage
