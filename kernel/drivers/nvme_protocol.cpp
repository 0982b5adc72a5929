#include "kernel/drivers/nvme_protocol.hpp"

namespace tessera::kernel::nvme {

// Status field, figure 122: code type in bits 11:9, code in bits 8:1.
Result<void> status_result(uint16_t status) {
    unsigned code = status >> 1 & 0xff;
    unsigned type = status >> 9 & 7;
    if (code == 0 && type == 0) return {};
    if (type == 0 && code == 0x80) return Fail(Error::Range); // LBA out of range
    return Fail(Error::Io);
}

Result<void> build_prp(Platform& platform, MutableBytes buffer, Command& command,
                       std::span<uint64_t> list, BusAddr list_at) {
    auto start = reinterpret_cast<uintptr_t>(buffer.data());
    if (buffer.empty() || start % 4 != 0) return Fail(Error::InvalidArgument);
    size_t pages = (start % kPageSize + buffer.size() + kPageSize - 1) / kPageSize;
    if (pages > 2 && pages - 1 > list.size()) return Fail(Error::TooBig);

    command.prp1 = TRY(platform.bus_address(buffer.data())).value;
    command.prp2 = 0;
    uintptr_t page = align_down(start, kPageSize);
    for (size_t i = 1; i < pages; i++) {
        uint64_t at =
            TRY(platform.bus_address(reinterpret_cast<const void*>(page + i * kPageSize))).value;
        if (at % kPageSize != 0) return Fail(Error::BadAddress);
        if (pages == 2)
            command.prp2 = at;
        else
            list[i - 1] = at;
    }
    if (pages > 2) command.prp2 = list_at.value;
    return {};
}

} // namespace tessera::kernel::nvme
