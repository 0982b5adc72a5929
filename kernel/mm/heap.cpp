#include "kernel/mm/heap.hpp"

#include <array>
#include <bit>

#include "base/assert.hpp"
#include "base/units.hpp"
#include "kernel/mm/frames.hpp"
#include "kernel/mm/internal.hpp"

namespace tessera::kernel {
namespace {

constexpr std::array<uint16_t, 15> kSizes = {16,  32,  48,  64,  96,   128,  192, 256,
                                             320, 384, 512, 672, 1024, 1344, 2048};
constexpr uint16_t kNoObject = UINT16_MAX;

// Slabs of one size that have a free object, linked through their frame records. The objects of a
// frame begin at its start, so that a power-of-two size is its own alignment.
struct SizeClass {
    Spinlock lock;
    uint32_t partial = BuddyFrames::kNone;
};
constinit std::array<SizeClass, kSizes.size()> classes{};
std::atomic<size_t> frames_used{0};
std::atomic<size_t> bytes_used{0};

size_t class_for(size_t bytes, size_t alignment) {
    for (size_t c = 0; c < kSizes.size(); c++) {
        if (kSizes[c] >= bytes && kSizes[c] % alignment == 0) return c;
    }
    return kSizes.size();
}

std::byte* base_of(uint32_t frame) {
    return static_cast<std::byte*>(
        direct_map(PhysAddr(static_cast<uint64_t>(frame) << kPageShift)));
}
uint32_t frame_of(const void* p) {
    return static_cast<uint32_t>(phys_of(p).value >> kPageShift);
}
uint16_t& link_at(std::byte* base, uint16_t offset) {
    return *reinterpret_cast<uint16_t*>(base + offset);
}

void link(SizeClass& c, uint32_t frame) {
    BuddyFrames& frames = frames_locked();
    FrameRecord& r = frames.record(frame);
    r.previous = BuddyFrames::kNone;
    r.next = c.partial;
    if (r.next != BuddyFrames::kNone) frames.record(r.next).previous = frame;
    c.partial = frame;
}

void unlink(SizeClass& c, uint32_t frame) {
    BuddyFrames& frames = frames_locked();
    FrameRecord& r = frames.record(frame);
    if (r.previous == BuddyFrames::kNone) {
        c.partial = r.next;
    } else {
        frames.record(r.previous).next = r.next;
    }
    if (r.next != BuddyFrames::kNone) frames.record(r.next).previous = r.previous;
}

bool add_slab(size_t index) {
    Result<PhysAddr> fresh = allocate_frame();
    if (!fresh) return false;
    auto frame = static_cast<uint32_t>(fresh->value >> kPageShift);
    std::byte* base = base_of(frame);
    uint16_t size = kSizes[index];
    uint16_t next = kNoObject;
    for (size_t at = kPageSize / size * size; at >= size; at -= size) {
        link_at(base, static_cast<uint16_t>(at - size)) = next;
        next = static_cast<uint16_t>(at - size);
    }
    FrameRecord& r = frames_locked().record(frame);
    r.first_free = 0;
    r.live = 0;
    r.size_class = static_cast<uint16_t>(index);
    r.use = FrameUse::Slab;
    frames_used.fetch_add(1, std::memory_order_relaxed);
    link(classes[index], frame);
    return true;
}

void* allocate_large(size_t bytes) {
    size_t pages = (bytes + kPageSize - 1) >> kPageShift;
    Result<PhysAddr> first = allocate_contiguous(pages);
    if (!first) return nullptr;
    FrameRecord& r = frames_locked().record(static_cast<uint32_t>(first->value >> kPageShift));
    r.use = FrameUse::LargeHead;
    r.next = static_cast<uint32_t>(pages);
    frames_used.fetch_add(pages, std::memory_order_relaxed);
    bytes_used.fetch_add(pages << kPageShift, std::memory_order_relaxed);
    return direct_map(*first);
}

void free_small(std::byte* p, uint32_t frame, FrameRecord& r) {
    SizeClass& c = classes[r.size_class];
    uint16_t size = kSizes[r.size_class];
    auto offset = static_cast<uint16_t>(p - base_of(frame));
    ASSERT(offset % size == 0); // not the start of an object
    bytes_used.fetch_sub(size, std::memory_order_relaxed);
    bool give_back = false;
    {
        SpinGuard guard(c.lock);
        ASSERT(r.live > 0);
        link_at(base_of(frame), offset) = r.first_free;
        if (r.first_free == kNoObject) link(c, frame); // was full
        r.first_free = offset;
        r.live--;
        // Keep one empty slab per size, or a single object would take and return a frame each time.
        give_back =
            r.live == 0 && (r.next != BuddyFrames::kNone || r.previous != BuddyFrames::kNone);
        if (give_back) {
            unlink(c, frame);
            r.use = FrameUse::Allocated;
        }
    }
    if (give_back) {
        frames_used.fetch_sub(1, std::memory_order_relaxed);
        free_frame(PhysAddr(static_cast<uint64_t>(frame) << kPageShift));
    }
}

} // namespace

void* heap_allocate(size_t bytes, size_t alignment) {
    ASSERT(std::has_single_bit(alignment) && alignment <= kPageSize);
    if (bytes == 0) bytes = 1;
    size_t index = class_for(bytes, alignment);
    if (index == kSizes.size()) return allocate_large(bytes);
    SizeClass& c = classes[index];
    SpinGuard guard(c.lock);
    if (c.partial == BuddyFrames::kNone && !add_slab(index)) return nullptr;
    uint32_t frame = c.partial;
    FrameRecord& r = frames_locked().record(frame);
    std::byte* p = base_of(frame) + r.first_free;
    r.first_free = link_at(base_of(frame), r.first_free);
    r.live++;
    if (r.first_free == kNoObject) unlink(c, frame);
    bytes_used.fetch_add(kSizes[index], std::memory_order_relaxed);
    return p;
}

void heap_free(void* p) {
    if (!p) return;
    uint32_t frame = frame_of(p);
    FrameRecord& r = frames_locked().record(frame);
    if (r.use == FrameUse::Slab) return free_small(static_cast<std::byte*>(p), frame, r);
    ASSERT(r.use == FrameUse::LargeHead && base_of(frame) == p);
    size_t pages = r.next;
    r.use = FrameUse::Allocated;
    frames_used.fetch_sub(pages, std::memory_order_relaxed);
    bytes_used.fetch_sub(pages << kPageShift, std::memory_order_relaxed);
    free_contiguous(PhysAddr(static_cast<uint64_t>(frame) << kPageShift), pages);
}

HeapStats heap_stats() {
    return {frames_used.load(), bytes_used.load()};
}

} // namespace tessera::kernel
