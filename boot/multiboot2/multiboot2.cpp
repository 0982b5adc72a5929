#include "boot/multiboot2/multiboot2.hpp"

#include <cstddef>

#include "base/endian.hpp"
#include "base/units.hpp"

namespace tessera::boot {
namespace {

struct Header {
    Le32 total_size;
    Le32 reserved;
};
static_assert(sizeof(Header) == 8);

struct Tag {
    Le32 type;
    Le32 size; // with this header, without padding to 8
};
static_assert(sizeof(Tag) == 8);

struct ModuleTag {
    Tag tag;
    Le32 start, end;
};
static_assert(sizeof(ModuleTag) == 16);

struct MemoryMapTag {
    Tag tag;
    Le32 entry_size;
    Le32 entry_version;
};
static_assert(sizeof(MemoryMapTag) == 16);

struct MemoryMapEntry {
    Le64 start, size;
    Le32 type;
    Le32 reserved;
};
static_assert(sizeof(MemoryMapEntry) == 24);

enum : uint32_t {
    kEnd = 0,
    kCommandLine = 1,
    kLoaderName = 2,
    kModule = 3,
    kMemoryMap = 6,
    kAcpiOld = 14,
    kAcpiNew = 15,
};

// The zero-terminated text at the front of b.
Result<std::string_view> string_in(Bytes b) {
    std::string_view s = text_of(b);
    size_t end = s.find('\0');
    if (end == s.npos) return Fail(Error::Malformed);
    return s.substr(0, end);
}

Result<void> read_memory_map(Bytes body, BootInfo& out) {
    if (body.size() < sizeof(MemoryMapTag)) return Fail(Error::Malformed);
    uint32_t entry_size = load<MemoryMapTag>(body).entry_size;
    if (entry_size < sizeof(MemoryMapEntry)) return Fail(Error::Malformed);
    body = body.subspan(sizeof(MemoryMapTag));
    for (; body.size() >= entry_size; body = body.subspan(entry_size)) {
        auto e = load<MemoryMapEntry>(body);
        if (!out.add_memory({e.start, e.size, memory_kind(e.type)})) break;
    }
    return {};
}

Result<void> read_module(Bytes body, BootInfo& out) {
    if (body.size() < sizeof(ModuleTag)) return Fail(Error::Malformed);
    auto m = load<ModuleTag>(body);
    if (m.end < m.start) return Fail(Error::Malformed);
    std::string_view name = TRY(string_in(body.subspan(sizeof(ModuleTag))));
    Module* slot = out.add_module();
    if (!slot) return {};
    if (!slot->name.assign(name)) out.truncated = true;
    slot->start = m.start;
    slot->size = m.end - m.start;
    return {};
}

Result<void> read_tag(uint32_t type, Bytes body, BootInfo& out) {
    Bytes content = body.subspan(sizeof(Tag));
    switch (type) {
        case kCommandLine:
            if (!out.command_line.assign(TRY(string_in(content)))) out.truncated = true;
            return {};
        case kLoaderName:
            if (!out.loader.assign(TRY(string_in(content)))) out.truncated = true;
            return {};
        case kModule:
            return read_module(body, out);
        case kMemoryMap:
            return read_memory_map(body, out);
        case kAcpiOld:
            if (out.rsdp_copy_size >= 36) return {}; // the new one says more
            [[fallthrough]];
        case kAcpiNew: {
            size_t n = std::min(content.size(), out.rsdp_copy.size());
            std::memcpy(out.rsdp_copy.data(), content.data(), n);
            out.rsdp_copy_size = n;
            return {};
        }
        default:
            return {};
    }
}

} // namespace

Result<void> parse_multiboot2(const PhysicalMemory& memory, uint64_t address, BootInfo& out) {
    Bytes head = memory.at(address, sizeof(Header));
    if (head.size() != sizeof(Header)) return Fail(Error::Malformed);
    uint32_t total = load<Header>(head).total_size;
    if (total < sizeof(Header) || total > mib(1)) return Fail(Error::Malformed);
    Bytes rest = memory.at(address, total);
    if (rest.size() != total) return Fail(Error::Malformed);
    out.info_start = address;
    out.info_size = total;

    rest = rest.subspan(sizeof(Header));
    while (rest.size() >= sizeof(Tag)) {
        auto tag = load<Tag>(rest);
        if (tag.type == kEnd) return {};
        if (tag.size < sizeof(Tag) || tag.size > rest.size()) return Fail(Error::Malformed);
        TRY(read_tag(tag.type, rest.first(tag.size), out));
        size_t step = align_up(tag.size, 8);
        if (step > rest.size()) break;
        rest = rest.subspan(step);
    }
    return Fail(Error::Malformed); // no end tag
}

} // namespace tessera::boot
