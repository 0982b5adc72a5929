#include "kernel/mm/buddy.hpp"

#include <algorithm>
#include <bit>

#include "base/assert.hpp"

namespace tessera::kernel {

void BuddyFrames::adopt(std::span<FrameRecord> records) {
    records_ = records;
    heads_.fill(kNone);
    for (FrameRecord& r : records_)
        r = FrameRecord{};
}

void BuddyFrames::mark(uint32_t first, uint64_t count, FrameUse use) {
    for (uint64_t i = 0; i < count; i++)
        records_[first + i].use = use;
}

void BuddyFrames::push(uint32_t frame, unsigned order) {
    FrameRecord& r = records_[frame];
    r.use = FrameUse::Free;
    r.order = static_cast<uint8_t>(order);
    r.previous = kNone;
    r.next = heads_[order];
    if (r.next != kNone) records_[r.next].previous = frame;
    heads_[order] = frame;
}

void BuddyFrames::remove(uint32_t frame) {
    FrameRecord& r = records_[frame];
    if (r.previous == kNone) {
        heads_[r.order] = r.next;
    } else {
        records_[r.previous].next = r.next;
    }
    if (r.next != kNone) records_[r.next].previous = r.previous;
}

// Frames of the block are marked FreeTail by the caller.
void BuddyFrames::release(uint32_t frame, unsigned order) {
    while (order < kMaxOrder) {
        uint32_t buddy = frame ^ (1u << order);
        if (buddy >= records_.size()) break;
        FrameRecord& b = records_[buddy];
        if (b.use != FrameUse::Free || b.order != order) break;
        remove(buddy);
        b.use = FrameUse::FreeTail;
        frame &= ~(1u << order);
        order++;
    }
    push(frame, order);
}

uint32_t BuddyFrames::take(unsigned order) {
    for (unsigned o = order; o <= kMaxOrder; o++) {
        uint32_t frame = heads_[o];
        if (frame == kNone) continue;
        remove(frame);
        while (o > order) {
            o--;
            push(frame + (1u << o), o);
        }
        return frame;
    }
    return kNone;
}

void BuddyFrames::add(uint32_t first, uint32_t count) {
    ASSERT(first + static_cast<uint64_t>(count) <= records_.size());
    for (uint32_t i = 0; i < count; i++)
        ASSERT(records_[first + i].use == FrameUse::Reserved);
    total_ += count;
    mark(first, count, FrameUse::Allocated);
    free_block(first, count);
}

Result<uint32_t> BuddyFrames::allocate() {
    uint32_t frame = cached_ > 0 ? cache_[--cached_] : take(0);
    if (frame == kNone) return Fail(Error::NoMemory);
    records_[frame].use = FrameUse::Allocated;
    free_--;
    return frame;
}

void BuddyFrames::free(uint32_t frame) {
    ASSERT(frame < records_.size() && records_[frame].use == FrameUse::Allocated); // double free?
    free_++;
    if (cached_ == cache_.size()) {
        // Half of them, the oldest, go back and may merge.
        for (uint32_t i = 0; i < cache_.size() / 2; i++) {
            records_[cache_[i]].use = FrameUse::FreeTail;
            release(cache_[i], 0);
        }
        cached_ -= cache_.size() / 2;
        for (uint32_t i = 0; i < cached_; i++)
            cache_[i] = cache_[i + cache_.size() / 2];
    }
    records_[frame].use = FrameUse::Cached;
    cache_[cached_++] = frame;
}

Result<uint32_t> BuddyFrames::allocate_block(uint32_t count) {
    if (count == 0) return Fail(Error::InvalidArgument);
    unsigned order = static_cast<unsigned>(std::bit_width(count - 1));
    if (order > kMaxOrder) return Fail(Error::NoMemory);
    uint32_t frame = take(order);
    if (frame == kNone) {
        // What lies in the cache may be what is missing.
        while (cached_ > 0) {
            uint32_t f = cache_[--cached_];
            records_[f].use = FrameUse::FreeTail;
            release(f, 0);
        }
        frame = take(order);
        if (frame == kNone) return Fail(Error::NoMemory);
    }
    uint32_t size = 1u << order;
    mark(frame, size, FrameUse::Allocated);
    free_ -= size;
    if (size > count) free_block(frame + count, size - count);
    return frame;
}

void BuddyFrames::free_block(uint32_t first, uint32_t count) {
    ASSERT(first + static_cast<uint64_t>(count) <= records_.size());
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(records_[first + i].use == FrameUse::Allocated);
        records_[first + i].use = FrameUse::FreeTail;
    }
    free_ += count;
    while (count > 0) {
        // The largest aligned block that fits.
        unsigned order = static_cast<unsigned>(first ? std::countr_zero(first) : kMaxOrder);
        order = std::min({order, static_cast<unsigned>(std::bit_width(count)) - 1, kMaxOrder});
        release(first, order);
        first += 1u << order;
        count -= 1u << order;
    }
}

} // namespace tessera::kernel
