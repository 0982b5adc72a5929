// Hostile executables: the parser must answer, and what it accepts must obey its promises.
#include "base/assert.hpp"
#include "monitors/process/posix/address_space.hpp"
#include "monitors/process/posix/exec/elf.hpp"

using namespace tessera;
using namespace tessera::posix;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes file(reinterpret_cast<const std::byte*>(data), size);
    Bytes head = file.first(size < 64 ? size : 64);
    auto place = find_program_headers(head);
    if (!place || place->offset > size || place->bytes > size - place->offset) return 0;
    auto image = parse_elf(head, file.subspan(place->offset, place->bytes), size);
    if (!image) return 0;
    uint64_t end = 0;
    for (const ElfSegment& s : image->segments) {
        ASSERT(s.memory_size > 0 && s.file_size <= s.memory_size);
        ASSERT(s.offset + s.file_size <= size);
        ASSERT(s.address % kPageSize == s.offset % kPageSize);
        ASSERT(align_down(s.address, kPageSize) >= end);
        end = align_up(s.address + s.memory_size, kPageSize);
        ASSERT(end <= align_up(kUserEnd, kPageSize));
    }
    ASSERT(image->entry < kUserEnd);
    return 0;
}
