// What kernel/mm's files and the start-up code share; nobody else includes it.
#pragma once

#include <cstdint>

#include "boot/boot_info.hpp"
#include "kernel/mm/address.hpp"
#include "kernel/mm/buddy.hpp"
#include "kernel/sync/spinlock.hpp"

namespace tessera::kernel {

// Start-up order: start_frames (memory below 4 GiB) → start_kernel_map (final page tables) →
// add_high_frames. start_frames returns the end of the direct map to be built.
uint64_t start_frames(const boot::BootInfo& boot);
void add_high_frames(const boot::BootInfo& boot, uint64_t top);
bool is_managed_ram(PhysAddr start, uint64_t bytes);

// The heap keeps its slab state in the frame records.
BuddyFrames& frames_locked();
Spinlock& frames_lock();

} // namespace tessera::kernel
