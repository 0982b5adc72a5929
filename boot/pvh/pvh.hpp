// Reads the start_info of a PVH entry (QEMU -kernel; Xen public/arch-x86/hvm/start_info.h, version
// 1).
#pragma once

#include "base/result.hpp"
#include "boot/boot_info.hpp"
#include "boot/physical_memory.hpp"

namespace tessera::boot {

// `address` is what the loader passed in ebx. Malformed: wrong magic, or memory that cannot be
// read.
Result<void> parse_pvh(const PhysicalMemory& memory, uint64_t address, BootInfo& out);

} // namespace tessera::boot
