// What a device driver needs of memory: buffers a device can reach, and registers it can poke.
#pragma once

#include <cstddef>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "kernel/mm/address.hpp"

namespace tessera::kernel {

struct DmaBuffer {
    MutableBytes bytes; // page aligned, a multiple of 4096 long
    PhysAddr phys;      // of bytes.data(); physically contiguous
};

// At least `bytes` bytes, zeroed. Error: NoMemory. Slow: for set-up, not per request.
Result<DmaBuffer> allocate_dma(size_t bytes);
void free_dma(DmaBuffer& buffer); // leaves it empty

// Maps device registers uncached, for good; the mapping may begin inside a page. Not for RAM.
// Errors: NoMemory, InvalidArgument (wraps around, or is RAM the frame allocator manages).
Result<volatile std::byte*> map_mmio(PhysAddr start, size_t bytes);

} // namespace tessera::kernel
