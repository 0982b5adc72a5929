#include "boot/pvh/pvh.hpp"

#include "base/endian.hpp"

namespace tessera::boot {
namespace {

struct StartInfo {
    Le32 magic, version, flags, module_count;
    Le64 modules, command_line, rsdp;
    Le64 memory_map; // version 1
    Le32 memory_map_entries, reserved;
};
static_assert(sizeof(StartInfo) == 56);
constexpr uint32_t kMagic = 0x336ec578;

struct ModuleEntry {
    Le64 start, size, command_line, reserved;
};
static_assert(sizeof(ModuleEntry) == 32);

struct MemoryEntry {
    Le64 start, size;
    Le32 type, reserved;
};
static_assert(sizeof(MemoryEntry) == 24);

// The text at a physical address, up to `limit` bytes; ends at the zero or at unreadable memory.
template <size_t N>
bool read_text(const PhysicalMemory& memory, uint64_t address, Text<N>& out) {
    char buffer[N];
    size_t n = 0;
    for (; n < N; n++) {
        Bytes b = memory.at(address + n, 1);
        if (b.empty()) return false;
        buffer[n] = static_cast<char>(b[0]);
        if (!buffer[n]) break;
    }
    out.assign({buffer, n});
    return n < N;
}

} // namespace

Result<void> parse_pvh(const PhysicalMemory& memory, uint64_t address, BootInfo& out) {
    Bytes b = memory.at(address, sizeof(StartInfo));
    if (b.size() != sizeof(StartInfo)) return Fail(Error::Malformed);
    auto info = load<StartInfo>(b);
    if (info.magic != kMagic || info.version < 1) return Fail(Error::Malformed);
    out.loader.assign("QEMU PVH");
    out.info_start = address;
    out.info_size = sizeof(StartInfo);
    out.rsdp = info.rsdp;
    if (info.command_line && !read_text(memory, info.command_line, out.command_line))
        out.truncated = true;

    for (uint32_t i = 0; i < info.memory_map_entries; i++) {
        b = memory.at(info.memory_map + i * sizeof(MemoryEntry), sizeof(MemoryEntry));
        if (b.empty()) return Fail(Error::Malformed);
        auto e = load<MemoryEntry>(b);
        if (!out.add_memory({e.start, e.size, memory_kind(e.type)})) break;
    }
    for (uint32_t i = 0; i < info.module_count; i++) {
        b = memory.at(info.modules + i * sizeof(ModuleEntry), sizeof(ModuleEntry));
        if (b.empty()) return Fail(Error::Malformed);
        auto e = load<ModuleEntry>(b);
        Module* m = out.add_module();
        if (!m) break;
        if (e.command_line && !read_text(memory, e.command_line, m->name)) out.truncated = true;
        m->start = e.start;
        m->size = e.size;
    }
    return {};
}

} // namespace tessera::boot
