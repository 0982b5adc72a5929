#include "kernel/drivers/fw_cfg.hpp"

#include "base/endian.hpp"
#include "base/log.hpp"

namespace tessera::kernel {

namespace {

constexpr uint16_t kSelectorPort = 0x510, kDataPort = 0x511;
constexpr uint16_t kSignature = 0x00, kDirectory = 0x19, kFirstFile = 0x20;
constexpr uint16_t kReadableSelectors =
    0x4000; // bit 14 is the old write channel, bit 15 architecture-local

struct DirectoryEntry {
    Be32 size;
    Be16 selector;
    Be16 reserved;
    char name[56];
};
static_assert(sizeof(DirectoryEntry) == 64);

} // namespace

Result<FwCfgFile> parse_fw_cfg_entry(Bytes entry) {
    if (entry.size() != sizeof(DirectoryEntry)) return Fail(Error::Malformed);
    auto e = load<DirectoryEntry>(entry);
    size_t length = 0;
    while (length < sizeof e.name && e.name[length] != 0)
        length++;
    if (length == 0 || length == sizeof e.name) return Fail(Error::Malformed);
    if (e.selector < kFirstFile || e.selector >= kReadableSelectors) return Fail(Error::Malformed);
    FwCfgFile file;
    file.size = e.size;
    file.selector = e.selector;
    std::memcpy(file.name, e.name, length);
    return file;
}

Result<FwCfg> FwCfg::open(PortIo& ports) {
    FwCfg cfg(ports);
    char signature[4];
    cfg.select(kSignature);
    cfg.read(std::as_writable_bytes(std::span(signature)));
    if (std::string_view(signature, 4) != "QEMU") return Fail(Error::NoDevice);

    cfg.select(kDirectory);
    Be32 count;
    cfg.read(mutable_bytes_of(count));
    if (count > kMaxFiles) return Fail(Error::Malformed);
    cfg.files_.reserve(count);
    for (uint32_t i = 0; i < count; i++) {
        std::byte raw[sizeof(DirectoryEntry)];
        cfg.read(raw);
        auto file = parse_fw_cfg_entry(raw);
        if (file)
            cfg.files_.push_back(*file);
        else
            LOG(Warning, "fw_cfg", "directory entry %u is malformed; skipped", i);
    }
    return cfg;
}

Result<uint32_t> FwCfg::file_size(std::string_view name) const {
    for (const FwCfgFile& f : files_) {
        if (name == f.name) return f.size;
    }
    return Fail(Error::NotFound);
}

Result<std::vector<std::byte>> FwCfg::read_file(std::string_view name, size_t limit) {
    for (const FwCfgFile& f : files_) {
        if (name != f.name) continue;
        if (f.size > limit) return Fail(Error::TooBig);
        std::vector<std::byte> content(f.size);
        select(f.selector);
        read(content);
        return content;
    }
    return Fail(Error::NotFound);
}

void FwCfg::select(uint16_t selector) {
    ports_->out16(kSelectorPort, selector);
}

void FwCfg::read(MutableBytes out) {
    for (std::byte& b : out)
        b = static_cast<std::byte>(ports_->in8(kDataPort));
}

} // namespace tessera::kernel
