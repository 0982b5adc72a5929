#include "tools/fabric/pcap.hpp"

#include "base/endian.hpp"

namespace tessera::fabric {
namespace {

// The file header and the record header of pcap (draft-ietf-opsawg-pcap, sections 4 and 5).
struct FileHeader {
    Le32 magic = 0xa1b23c4du; // nanosecond timestamps
    Le16 major = 2, minor = 4;
    Le32 reserved[2];
    Le32 snap_length = 65535u;
    Le32 link_type = 1u; // Ethernet
};
static_assert(sizeof(FileHeader) == 24);

struct RecordHeader {
    Le32 seconds, nanoseconds, captured, original;
};
static_assert(sizeof(RecordHeader) == 16);

} // namespace

Result<std::unique_ptr<PcapFile>> PcapFile::create(const std::string& path) {
    std::FILE* f = std::fopen(path.c_str(), "wbe");
    if (!f) return Fail(Error::AccessDenied);
    FileHeader h;
    std::fwrite(&h, sizeof h, 1, f);
    return std::unique_ptr<PcapFile>(new PcapFile(f, path));
}

PcapFile::~PcapFile() {
    std::fclose(file_);
}

void PcapFile::write(Bytes frame, uint64_t realtime) {
    RecordHeader h;
    h.seconds = static_cast<uint32_t>(realtime / 1'000'000'000);
    h.nanoseconds = static_cast<uint32_t>(realtime % 1'000'000'000);
    h.captured = h.original = static_cast<uint32_t>(frame.size());
    std::fwrite(&h, sizeof h, 1, file_);
    std::fwrite(frame.data(), 1, frame.size(), file_);
    dirty_ = true;
}

void PcapFile::flush() {
    if (dirty_) std::fflush(file_);
    dirty_ = false;
}

} // namespace tessera::fabric
