// QEMU's fw_cfg: named files from the host (-fw_cfg name=opt/tessera/config,file=…), read byte by
// byte through x86 ports 0x510 and 0x511. (QEMU docs/specs/fw_cfg.) For configuration of a few KiB
// at start.
//
// The directory comes from outside: counts, sizes and names are checked.
#pragma once

#include <string_view>
#include <vector>

#include "kernel/drivers/platform.hpp"

namespace tessera::kernel {

struct FwCfgFile {
    uint32_t size = 0;
    uint16_t selector = 0;
    char name[57] = {}; // terminated
};

// One directory entry of 64 bytes: big-endian size, selector, reserved, name of 56 bytes. Error:
// Malformed (no terminator, empty name, a selector of the fixed items).
Result<FwCfgFile> parse_fw_cfg_entry(Bytes entry);

class FwCfg {
  public:
    // Error: NoDevice (not QEMU), Malformed.
    static Result<FwCfg> open(PortIo& ports);

    // Error: NotFound.
    Result<uint32_t> file_size(std::string_view name) const;
    // Error: NotFound, TooBig (more than `limit` bytes).
    Result<std::vector<std::byte>> read_file(std::string_view name, size_t limit = kib(256));
    const std::vector<FwCfgFile>& files() const { return files_; }

    static constexpr uint32_t kMaxFiles = 1024;

  private:
    explicit FwCfg(PortIo& ports) : ports_(&ports) {}
    void select(uint16_t selector);
    void read(MutableBytes out);

    PortIo* ports_;
    std::vector<FwCfgFile> files_;
};

} // namespace tessera::kernel
