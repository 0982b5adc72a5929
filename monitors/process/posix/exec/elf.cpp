#include "monitors/process/posix/exec/elf.hpp"

#include "base/endian.hpp"
#include "base/units.hpp"
#include "monitors/process/posix/address_space.hpp"

namespace tessera::posix {
namespace {

struct FileHeader { // Elf64_Ehdr
    unsigned char magic[4];
    unsigned char file_class, data, version, abi, abi_version, pad[7];
    Le16 type, machine;
    Le32 file_version;
    Le64 entry, program_headers, section_headers;
    Le32 flags;
    Le16 size, program_header_size, program_header_count, section_size, section_count, names;
};
static_assert(sizeof(FileHeader) == 64);

struct ProgramHeader { // Elf64_Phdr
    Le32 type, flags;
    Le64 offset, address, physical, file_size, memory_size, alignment;
};
static_assert(sizeof(ProgramHeader) == 56);

constexpr uint32_t kLoad = 1, kInterpreter = 3, kHeaders = 6;
constexpr uint16_t kExec = 2, kDyn = 3, kX86_64 = 62, kMostHeaders = 64;

Result<FileHeader> header(Bytes head) {
    if (head.size() < sizeof(FileHeader)) return Fail(Error::NotExecutable);
    auto h = load<FileHeader>(head);
    bool ok = std::memcmp(h.magic, "\177ELF", 4) == 0 && h.file_class == 2 && h.data == 1 &&
              h.version == 1 && h.machine == kX86_64 && (h.type == kExec || h.type == kDyn) &&
              h.program_header_size == sizeof(ProgramHeader) && h.program_header_count >= 1 &&
              h.program_header_count <= kMostHeaders;
    if (!ok) return Fail(Error::NotExecutable);
    return h;
}

} // namespace

Result<ElfHeaderPlace> find_program_headers(Bytes head) {
    FileHeader h = TRY(header(head));
    return ElfHeaderPlace{h.program_headers, h.program_header_count * sizeof(ProgramHeader)};
}

Result<ElfImage> parse_elf(Bytes head, Bytes headers, uint64_t file_size) {
    FileHeader h = TRY(header(head));
    size_t count = h.program_header_count;
    if (headers.size() < count * sizeof(ProgramHeader)) return Fail(Error::NotExecutable);
    ElfImage image;
    image.relocatable = h.type == kDyn;
    image.entry = h.entry;
    image.header_count = static_cast<uint16_t>(count);
    uint64_t named_headers = 0;
    uint64_t end = 0; // of the last segment, in pages
    for (size_t i = 0; i < count; i++) {
        auto p = load<ProgramHeader>(headers.subspan(i * sizeof(ProgramHeader)));
        if (p.type == kHeaders) named_headers = p.address;
        if (p.type == kInterpreter) {
            if (p.file_size < 2 || p.file_size > kPageSize || p.offset > file_size ||
                p.file_size > file_size - p.offset)
                return Fail(Error::NotExecutable);
            image.interpreter_offset = p.offset;
            image.interpreter_length = p.file_size;
        }
        if (p.type != kLoad || p.memory_size == 0) continue;
        ElfSegment s{.address = p.address,
                     .offset = p.offset,
                     .file_size = p.file_size,
                     .memory_size = p.memory_size,
                     .read = (p.flags & 4) != 0,
                     .write = (p.flags & 2) != 0,
                     .execute = (p.flags & 1) != 0};
        bool ok =
            s.file_size <= s.memory_size && s.offset <= file_size &&
            s.file_size <= file_size - s.offset && s.address % kPageSize == s.offset % kPageSize &&
            s.address < kUserEnd && s.memory_size <= kUserEnd - s.address &&
            (image.relocatable || s.address >= 0x10000) && align_down(s.address, kPageSize) >= end;
        if (!ok) return Fail(Error::NotExecutable);
        end = align_up(s.address + s.memory_size, kPageSize);
        if (h.program_headers >= s.offset && h.program_headers - s.offset <= s.file_size &&
            count * sizeof(ProgramHeader) <= s.file_size - (h.program_headers - s.offset))
            image.headers_address = s.address + (h.program_headers - s.offset);
        image.segments.push_back(s);
    }
    if (image.segments.empty()) return Fail(Error::NotExecutable);
    if (image.relocatable && image.highest() > (1ull << 40)) return Fail(Error::NotExecutable);
    if (named_headers && !image.headers_address) image.headers_address = named_headers;
    for (const ElfSegment& s : image.segments)
        if (s.execute && image.entry >= s.address && image.entry < s.address + s.memory_size)
            return image;
    return Fail(Error::NotExecutable);
}

} // namespace tessera::posix
