#include "kernel/rt/symbols.hpp"

#include <cstddef>
#include <cstring>

#include "boot/x86_64/layout.h"

// The layout of the table: a count, `count` addresses (offsets from KERNEL_IMAGE_BASE, rising), as
// many offsets into the text behind them, the text itself (names ended by zeros). An empty table
// (the first of the two links) has count 0.
extern "C" {
extern const uint32_t kernel_symbol_table[];
extern const char __text_end[];
}

namespace tessera::kernel {

Symbol symbol_at(uint64_t address) {
    const uint32_t* table = kernel_symbol_table;
    uint32_t count = table[0];
    uint64_t relative = address - KERNEL_IMAGE_BASE;
    auto end = reinterpret_cast<uint64_t>(__text_end);
    if (count == 0 || relative < table[1] || address >= end) return {"?", 0};
    const uint32_t* addresses = table + 1;
    uint32_t low = 0, high = count; // addresses[low] <= relative < addresses[high]
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        (addresses[middle] <= relative ? low : high) = middle;
    }
    const uint32_t* names = addresses + count;
    const char* text = reinterpret_cast<const char*>(names + count);
    return {text + names[low], relative - addresses[low]};
}

} // namespace tessera::kernel
