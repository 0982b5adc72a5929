// BuddyFrames: the frame allocator proper, as a portable class over an array of records, so that it
// is unit tested hosted. kernel/mm/frames.cpp puts a lock around one instance.
//
// Blocks of 2^order frames; two free buddies merge. In front of it a stack of single frames makes
// the common case (one frame) constant time and keeps it from splitting and merging large blocks.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/assert.hpp"
#include "base/result.hpp"

namespace tessera::kernel {

enum class FrameUse : uint8_t {
    Reserved, // not managed
    Free,     // head of a free block of `order`
    FreeTail, // inside a free block
    Cached,   // on the stack of single frames
    Allocated,
    Slab,      // small heap objects (heap.cpp owns the other fields)
    LargeHead, // first frame of a large heap object; `order` is its block's
};

struct FrameRecord {
    uint32_t next = 0, previous = 0;
    FrameUse use = FrameUse::Reserved;
    uint8_t order = 0;
    uint16_t first_free = 0; // heap: offset of the first free object in a slab
    uint16_t live = 0;       // heap: objects in use
    uint16_t size_class = 0;
};
static_assert(sizeof(FrameRecord) == 20 || sizeof(FrameRecord) == 16);

class BuddyFrames {
  public:
    static constexpr unsigned kMaxOrder = 18; // 1 GiB
    static constexpr uint32_t kNone = UINT32_MAX;

    // One record per frame from physical address 0; all start as Reserved.
    void adopt(std::span<FrameRecord> records);
    // Gives Reserved frames [first, first + count) to the allocator.
    void add(uint32_t first, uint32_t count);

    // Frame numbers. NoMemory.
    Result<uint32_t> allocate();
    Result<uint32_t> allocate_block(
        uint32_t count); // adjacent; any count; each freed on its own or together
    void free(uint32_t frame);
    void free_block(uint32_t first, uint32_t count);

    FrameRecord& record(uint32_t frame) {
        ASSERT(frame < records_.size());
        return records_[frame];
    }
    uint32_t frame_count() const { return static_cast<uint32_t>(records_.size()); }
    uint64_t total() const { return total_; }
    uint64_t free_count() const { return free_; }

  private:
    void push(uint32_t frame, unsigned order);
    void remove(uint32_t frame);
    void release(uint32_t frame, unsigned order);
    uint32_t take(unsigned order);
    void mark(uint32_t first, uint64_t count, FrameUse use);

    std::span<FrameRecord> records_;
    std::array<uint32_t, kMaxOrder + 1> heads_{};
    std::array<uint32_t, 256> cache_{};
    uint32_t cached_ = 0;
    uint64_t total_ = 0;
    uint64_t free_ = 0;
};

} // namespace tessera::kernel
