// The kernel heap behind operator new: size classes up to 2 KiB, whole frames above.
//
// Objects are physically contiguous and in the direct map (phys_of works on them). Safe from any
// CPU and from interrupts. Never blocks. Freeing what was not allocated is caught by an ASSERT.
#pragma once

#include <cstddef>

namespace tessera::kernel {

// nullptr: out of memory. alignment: a power of two up to 4096.
void* heap_allocate(size_t bytes, size_t alignment = 16);
void heap_free(void* p); // nullptr is fine

struct HeapStats {
    size_t frames = 0; // taken from the frame allocator
    size_t bytes = 0;  // in live objects, rounded up to their size class
};
HeapStats heap_stats();

} // namespace tessera::kernel
