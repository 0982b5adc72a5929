// Physical frames: every 4 KiB page of RAM the boot loader gave us that the kernel itself does not
// use.
//
// All RAM is in the direct map, so a frame is readable as soon as it is allocated. Frames come with
// unspecified contents. Safe from any CPU and from interrupts (one spinlock, held for nanoseconds).
// Errors: NoMemory. Freeing a frame twice, or one that was never handed out, is caught by an
// ASSERT.
#pragma once

#include <cstddef>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "kernel/mm/address.hpp"

namespace tessera::kernel {

struct FrameStats {
    size_t total = 0; // frames managed
    size_t free = 0;
    size_t reserved = 0; // RAM the allocator does not manage: kernel image, its tables, below 1 MiB
};

Result<PhysAddr> allocate_frame();
void free_frame(PhysAddr frame);

// `pages` adjacent frames; free with free_contiguous (or each on its own). Slow (a scan): for
// set-up.
Result<PhysAddr> allocate_contiguous(size_t pages);
void free_contiguous(PhysAddr first, size_t pages);

FrameStats frame_stats();

// The kernel's address of a physical one. Valid for RAM only; device registers need map_mmio.
void* direct_map(PhysAddr address);
inline MutableBytes frame_bytes(PhysAddr frame) {
    return {static_cast<std::byte*>(direct_map(frame)), kPageSize};
}

// The physical address behind a direct-map address, a heap object or kernel static data. (Kernel
// stacks are not contiguous: never pass the address of a local variable.)
PhysAddr phys_of(const void* address);

} // namespace tessera::kernel
