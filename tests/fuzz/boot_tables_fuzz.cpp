// Firmware and loader tables of any shape: the first byte chooses the parser, the rest is all of
// memory.
#include <cstddef>
#include <cstdint>

#include "boot/acpi/acpi.hpp"
#include "boot/multiboot2/multiboot2.hpp"
#include "boot/pvh/pvh.hpp"

namespace {
using namespace tessera;

class Memory final : public boot::PhysicalMemory {
  public:
    explicit Memory(Bytes b) : bytes_(b) {}
    Bytes at(uint64_t address, uint64_t size) const override {
        if (address > bytes_.size() || size > bytes_.size() - address) return {};
        return bytes_.subspan(address, size);
    }

  private:
    Bytes bytes_;
};
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    Memory memory(Bytes(reinterpret_cast<const std::byte*>(data + 1), size - 1));
    boot::BootInfo info;
    boot::AcpiFacts facts;
    switch (data[0] % 3) {
        case 0:
            (void)boot::parse_multiboot2(memory, 0, info);
            break;
        case 1:
            (void)boot::parse_pvh(memory, 0, info);
            break;
        default:
            info.rsdp = 1;
            (void)boot::parse_acpi(memory, info, facts);
    }
    (void)boot::command_line_option(info.command_line.view(), "role");
    return 0;
}
