// Reads what a multiboot2 loader (GRUB) passes. Multiboot2 Specification 2.0, section 3.6.
#pragma once

#include "base/result.hpp"
#include "boot/boot_info.hpp"
#include "boot/physical_memory.hpp"

namespace tessera::boot {

// `address` is what the loader passed in ebx. Malformed: a size that does not fit, an unterminated
// string, memory that cannot be read. `out` then holds what was understood before.
Result<void> parse_multiboot2(const PhysicalMemory& memory, uint64_t address, BootInfo& out);

} // namespace tessera::boot
