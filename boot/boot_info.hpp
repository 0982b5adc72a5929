// What the boot loader told us, in one form for multiboot2 (GRUB) and PVH (QEMU -kernel).
//
// Filled once by kernel/arch/x86_64 before kernel_main; strings are copied, module bytes stay where
// the loader put them (reserved from the frame allocator). Sizes are bounded: what does not fit is
// dropped and `truncated` says so.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.hpp"

namespace tessera::boot {

// A short copied text.
template <size_t N>
struct Text {
    char data[N] = {};
    uint16_t size = 0;

    std::string_view view() const { return {data, size}; }
    // False: it was cut.
    bool assign(std::string_view s) {
        size = static_cast<uint16_t>(s.size() < N ? s.size() : N);
        std::memcpy(data, s.data(), size);
        return s.size() <= N;
    }
};

enum class MemoryKind : uint8_t { Usable, Reserved, AcpiReclaimable, AcpiNvs, Bad };

// By the number that the BIOS's E820 map gives it; multiboot2 and PVH use the same.
MemoryKind memory_kind(uint32_t e820_type);

struct MemoryRange {
    uint64_t start = 0; // physical
    uint64_t size = 0;
    MemoryKind kind = MemoryKind::Reserved;
};

struct Module {
    Text<64> name;      // the module's command line: its name first
    uint64_t start = 0; // physical
    uint64_t size = 0;
};

struct BootInfo {
    Text<64> loader;         // "GRUB 2.06-13", "QEMU PVH"
    Text<1024> command_line; // without the program's name
    std::array<MemoryRange, 128> memory;
    size_t memory_count = 0;
    std::array<Module, 8> modules;
    size_t module_count = 0;
    uint64_t rsdp = 0;                     // physical address of the ACPI root pointer; 0: not told
    std::array<std::byte, 36> rsdp_copy{}; // multiboot2 hands over a copy instead
    size_t rsdp_copy_size = 0;
    uint64_t info_start = 0,
             info_size = 0; // the loader's own structure, to be reserved until parsed
    bool truncated = false;

    // False: there was no room, and `truncated` says so.
    bool add_memory(const MemoryRange& range);
    Module* add_module(); // null: no room

    std::span<const MemoryRange> memory_map() const { return {memory.data(), memory_count}; }
    std::span<const Module> module_list() const { return {modules.data(), module_count}; }
};

// The value of `key=` in a command line ("role=pcomponent tsc_khz=2000000"); the last one wins.
// Empty if absent. A word without '=' is its own value, so that option("verbose") is non-empty if
// it is there.
std::string_view command_line_option(std::string_view command_line, std::string_view key);

// The one instance, complete when kernel_main runs.
const BootInfo& boot_info();
// Contents of the module with that name (first word of its command line); empty if absent.
Bytes module_bytes(std::string_view name);

} // namespace tessera::boot
