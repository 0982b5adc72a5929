#include "monitors/storage/core/stream.hpp"

#include <algorithm>

#include "monitors/storage/core/checksum.hpp"

namespace tessera::storage {
namespace {

// The header's checksum field is left out: the sum of what is before and after, chained by the
// seed.
uint32_t record_checksum(const RecordHeader& header, Bytes items) {
    uint64_t lsn = header.lsn;
    return static_cast<uint32_t>(xxh64(items, lsn ^ (uint64_t{header.length} << 40)));
}

} // namespace

uint32_t block_checksum(Bytes block, size_t checksum_offset) {
    uint64_t before = xxh64(block.first(checksum_offset));
    return static_cast<uint32_t>(xxh64(block.subspan(checksum_offset + 4), before));
}

RecordHeader StreamWriter::make_header(Bytes items, uint64_t lsn) {
    ASSERT(!items.empty() && items.size() <= kMaxRecord);
    RecordHeader h;
    h.length = static_cast<uint32_t>(items.size());
    h.lsn = lsn;
    h.checksum = record_checksum(h, items);
    return h;
}

void StreamWriter::begin(std::byte* block) {
    block_ = block;
    used_ = 0;
}

void StreamWriter::seal(uint64_t durable) {
    if (!block_) return;
    std::memset(block_ + sizeof(StreamBlock) + used_, 0, kStreamPayload - used_);
    StreamBlock h;
    h.magic = identity_.magic;
    h.store = identity_.store;
    h.epoch = identity_.epoch;
    h.sequence = sequence_;
    h.durable = durable;
    h.used = static_cast<uint32_t>(used_);
    std::memcpy(block_, &h, sizeof h);
    h.checksum = block_checksum(Bytes(block_, kBlockSize), offsetof(StreamBlock, checksum));
    std::memcpy(block_, &h, sizeof h);
    block_ = nullptr;
    sequence_++;
}

bool StreamReader::sound(Bytes block, uint64_t sequence, uint64_t* durable) const {
    if (block.size() != kBlockSize) return false;
    StreamBlock h = load<StreamBlock>(block);
    if (h.magic != magic_ || h.store != store_ || h.sequence != sequence) return false;
    if (h.epoch < epoch_ || h.used > kStreamPayload) return false;
    if (h.checksum != block_checksum(block, offsetof(StreamBlock, checksum))) return false;
    if (durable) *durable = h.durable;
    return true;
}

Result<bool> StreamReader::feed(Bytes block, std::vector<StreamRecord>& out) {
    uint64_t durable = 0;
    if (!sound(block, sequence_, &durable)) return false;
    StreamBlock h = load<StreamBlock>(block);
    if (h.epoch != epoch_) partial_.clear(); // its rest was lost in a crash
    epoch_ = h.epoch;
    if (durable > sequence_) return Fail(Error::Malformed);
    durable_ = std::max(durable_, durable);
    Bytes left = block.subspan(sizeof(StreamBlock), h.used);
    while (!left.empty()) {
        auto move = [&](size_t upto) {
            size_t n = std::min(upto - partial_.size(), left.size());
            partial_.insert(partial_.end(), left.begin(), left.begin() + static_cast<ptrdiff_t>(n));
            left = left.subspan(n);
        };
        if (partial_.size() < sizeof(RecordHeader)) {
            move(sizeof(RecordHeader));
            if (partial_.size() < sizeof(RecordHeader)) break;
        }
        RecordHeader r = load<RecordHeader>(partial_);
        if (r.length == 0 || r.length > kMaxRecord) return Fail(Error::Malformed);
        move(sizeof(RecordHeader) + r.length);
        if (partial_.size() < sizeof(RecordHeader) + r.length) break;
        Bytes items = Bytes(partial_).subspan(sizeof(RecordHeader));
        if (r.checksum != record_checksum(r, items) || r.lsn <= last_lsn_)
            return Fail(Error::Malformed);
        last_lsn_ = r.lsn;
        out.push_back({r.lsn, sequence_, {items.begin(), items.end()}});
        partial_.clear();
    }
    if (h.used < kStreamPayload && !partial_.empty()) return Fail(Error::Malformed);
    sequence_++;
    return true;
}

} // namespace tessera::storage
