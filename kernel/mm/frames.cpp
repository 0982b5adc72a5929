#include "kernel/mm/frames.hpp"

#include "boot/x86_64/layout.h"
#include "kernel/mm/internal.hpp"
#include "kernel/rt/panic.hpp"
#include "kernel/sync/spinlock.hpp"

extern "C" {
extern const char __image_start[], __image_end[]; // physical
}

namespace tessera::kernel {
namespace {

constexpr uint64_t kLowMemory = mib(1);      // never handed out: firmware data, the trampoline
constexpr uint64_t kEarlyLimit = 4ull << 30; // what the boot page tables map

// Used before static constructors run: so nothing here may need one.
constinit Spinlock lock;
constinit BuddyFrames buddy;
uint64_t direct_map_end = kEarlyLimit;
uint64_t usable_frames = 0;

struct Range {
    uint64_t start, end;
};

// What lies in usable memory and is in use: the image, the records, modules.
constinit std::array<Range, 12> taken{};
size_t taken_count = 0;

void take(uint64_t start, uint64_t end) {
    taken[taken_count++] = {align_down(start, kPageSize), align_up(end, kPageSize)};
}

// Calls f(start, end) for the pieces of [start, end) that nobody has taken.
template <typename F>
void for_free_pieces(uint64_t start, uint64_t end, F&& f) {
    while (start < end) {
        uint64_t stop = end;
        bool inside = false;
        for (size_t i = 0; i < taken_count; i++) {
            if (taken[i].start <= start && start < taken[i].end) {
                start = taken[i].end;
                inside = true;
                break;
            }
            if (taken[i].start > start) stop = std::min(stop, taken[i].start);
        }
        if (inside) continue;
        f(start, stop);
        start = stop;
    }
}

template <typename F>
void for_usable(const boot::BootInfo& boot, uint64_t from, uint64_t to, F&& f) {
    for (const boot::MemoryRange& r : boot.memory_map()) {
        if (r.kind != boot::MemoryKind::Usable || r.size > UINT64_MAX - r.start) continue;
        uint64_t start = std::max(align_up(r.start, kPageSize), from);
        uint64_t end = std::min(align_down(r.start + r.size, kPageSize), to);
        if (start < end) f(start, end);
    }
}

void add_between(const boot::BootInfo& boot, uint64_t from, uint64_t to) {
    for_usable(boot, from, to, [](uint64_t start, uint64_t end) {
        for_free_pieces(start, end, [](uint64_t s, uint64_t e) {
            buddy.add(static_cast<uint32_t>(s >> kPageShift),
                      static_cast<uint32_t>((e - s) >> kPageShift));
        });
    });
}

} // namespace

BuddyFrames& frames_locked() {
    return buddy;
}
Spinlock& frames_lock() {
    return lock;
}

uint64_t start_frames(const boot::BootInfo& boot) {
    take(reinterpret_cast<uint64_t>(__image_start), reinterpret_cast<uint64_t>(__image_end));
    for (const boot::Module& m : boot.module_list())
        take(m.start, m.start + m.size);

    uint64_t top = 0;
    for_usable(boot, 0, UINT64_MAX, [&](uint64_t start, uint64_t end) {
        top = std::max(top, end);
        usable_frames += (end - start) >> kPageShift;
    });
    uint64_t records_size = align_up((top >> kPageShift) * sizeof(FrameRecord), kPageSize);
    uint64_t records_at = 0;
    for_usable(boot, kLowMemory, kEarlyLimit, [&](uint64_t start, uint64_t end) {
        for_free_pieces(start, end, [&](uint64_t s, uint64_t e) {
            if (!records_at && e - s >= records_size) records_at = s;
        });
    });
    if (!records_at) panic("no memory for %lu KiB of frame records", records_size / 1024);
    take(records_at, records_at + records_size);
    buddy.adopt({static_cast<FrameRecord*>(direct_map(PhysAddr(records_at))), top >> kPageShift});
    add_between(boot, kLowMemory, kEarlyLimit);
    return std::max(top, kEarlyLimit);
}

void add_high_frames(const boot::BootInfo& boot, uint64_t top) {
    direct_map_end = top;
    add_between(boot, kEarlyLimit, UINT64_MAX);
}

bool is_managed_ram(PhysAddr start, uint64_t bytes) {
    uint64_t last = (start.value + bytes - 1) >> kPageShift;
    for (uint64_t f = start.value >> kPageShift; f <= last && f < buddy.frame_count(); f++) {
        if (buddy.record(static_cast<uint32_t>(f)).use != FrameUse::Reserved) return true;
    }
    return false;
}

Result<PhysAddr> allocate_frame() {
    SpinGuard guard(lock);
    return PhysAddr(static_cast<uint64_t>(TRY(buddy.allocate())) << kPageShift);
}

void free_frame(PhysAddr frame) {
    ASSERT(frame.page_offset() == 0);
    SpinGuard guard(lock);
    buddy.free(static_cast<uint32_t>(frame.value >> kPageShift));
}

Result<PhysAddr> allocate_contiguous(size_t pages) {
    if (pages > UINT32_MAX / 2) return Fail(Error::NoMemory);
    SpinGuard guard(lock);
    uint32_t first = TRY(buddy.allocate_block(static_cast<uint32_t>(pages)));
    return PhysAddr(static_cast<uint64_t>(first) << kPageShift);
}

void free_contiguous(PhysAddr first, size_t pages) {
    ASSERT(first.page_offset() == 0);
    SpinGuard guard(lock);
    buddy.free_block(static_cast<uint32_t>(first.value >> kPageShift),
                     static_cast<uint32_t>(pages));
}

FrameStats frame_stats() {
    SpinGuard guard(lock);
    return {buddy.total(), buddy.free_count(), usable_frames - buddy.total()};
}

void* direct_map(PhysAddr address) {
    ASSERT(address.value < direct_map_end);
    return reinterpret_cast<void*>(DIRECT_MAP_BASE + address.value);
}

PhysAddr phys_of(const void* pointer) {
    auto address = reinterpret_cast<uint64_t>(pointer);
    if (address >= KERNEL_IMAGE_BASE) return PhysAddr(address - KERNEL_IMAGE_BASE);
    ASSERT(address >= DIRECT_MAP_BASE && address - DIRECT_MAP_BASE < direct_map_end);
    return PhysAddr(address - DIRECT_MAP_BASE);
}

} // namespace tessera::kernel
