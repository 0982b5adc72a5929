// The kernel's own address space: the image with W^X, the direct map, and page-by-page mappings for
// stacks and device registers. Its upper half is shared by every user PageTable.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.hpp"
#include "kernel/mm/address.hpp"

namespace tessera::kernel {

// Bits of an x86-64 page-table entry (Intel SDM volume 3, 4.5).
inline constexpr uint64_t kPtePresent = 1, kPteWrite = 2, kPteUser = 4, kPteWriteThrough = 8,
                          kPteNoCache = 16, kPteAccessed = 32, kPteDirty = 64, kPteLarge = 128,
                          kPteGlobal = 256, kPteNoExecute = 1ull << 63;
inline constexpr uint64_t kPteAddress = 0x000f'ffff'ffff'f000;

// Builds the final tables, with a direct map up to `direct_map_end`, and loads them.
void start_kernel_map(uint64_t direct_map_end);
uint64_t kernel_root(); // CR3 of kernel threads

// The 256 upper entries of a new user table's root.
void copy_kernel_half(uint64_t* root);

// A kernel stack of kKernelStackSize bytes with an unmapped page below. Returns its top
// (exclusive). Stacks are reused, never unmapped. NoMemory.
inline constexpr size_t kKernelStackSize = 8 * kPageSize;
Result<uint64_t> allocate_kernel_stack();
void free_kernel_stack(uint64_t top);

// True for an address in the guard page of a kernel stack.
bool is_stack_guard(VirtAddr address);

} // namespace tessera::kernel
