// Parser of ELF64 executables for x86-64 (ET_EXEC and ET_DYN), System V ABI chapters 4 and 5.
//
// Pure and bounds-checked: everything comes from a file that anybody may have written. Anything odd
// is NotExecutable, never a crash; a fuzz target feeds it (tests/fuzz/elf_fuzz.cpp).
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace tessera::posix {

struct ElfSegment {
    uint64_t address = 0; // as linked
    uint64_t offset = 0;  // in the file; congruent to address modulo the page size
    uint64_t file_size = 0;
    uint64_t memory_size = 0; // >= file_size, > 0
    bool read = false, write = false, execute = false;
};

struct ElfImage {
    bool relocatable = false; // ET_DYN: goes anywhere
    uint64_t entry = 0;
    uint64_t headers_address = 0; // of the program headers in memory, 0 if not loaded
    uint16_t header_count = 0;
    std::vector<ElfSegment> segments; // ascending, not overlapping in pages
    uint64_t interpreter_offset = 0;  // PT_INTERP, length 0 if none
    uint64_t interpreter_length = 0;
    uint64_t lowest() const { return segments.front().address & ~4095ull; }
    uint64_t highest() const { return segments.back().address + segments.back().memory_size; }
};

struct ElfHeaderPlace {
    uint64_t offset = 0;
    uint64_t bytes = 0; // of all program headers, at most 64 * 56
};

// Looks at the first 64 bytes and says where the program headers are.
Result<ElfHeaderPlace> find_program_headers(Bytes head);
// head: the first 64 bytes; headers: what find_program_headers named; file_size bounds the
// segments.
Result<ElfImage> parse_elf(Bytes head, Bytes headers, uint64_t file_size);

} // namespace tessera::posix
