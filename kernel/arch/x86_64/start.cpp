// The first C++ that runs: reads what the loader passed, brings the machine up in order, and hands
// over to kernel_main in the first thread.

#include "base/log.hpp"
#include "boot/boot_info.hpp"
#include "boot/multiboot2/multiboot2.hpp"
#include "boot/physical_memory.hpp"
#include "boot/pvh/pvh.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/serial.hpp"
#include "kernel/node/kernel_main.hpp"
#include "kernel/rt/panic.hpp"

extern "C" {
using Initialiser = void (*)();
extern const Initialiser __init_array_start[], __init_array_end[];
void kernel_start(uint64_t protocol, uint64_t info);
}

namespace tessera::kernel::arch {

Cpu cpus[kMaxCpus];

namespace {

boot::BootInfo info_store;

// The first 4 GiB, as start.S mapped them.
class EarlyMemory final : public boot::PhysicalMemory {
  public:
    Bytes at(uint64_t address, uint64_t size) const override {
        constexpr uint64_t kLimit = 4ull << 30;
        if (address >= kLimit || size > kLimit - address) return {};
        return {reinterpret_cast<const std::byte*>(DIRECT_MAP_BASE + address), size};
    }
};

} // namespace
} // namespace tessera::kernel::arch

namespace tessera::boot {
const BootInfo& boot_info() {
    return kernel::arch::info_store;
}
} // namespace tessera::boot

void kernel_start(uint64_t protocol, uint64_t info) {
    using namespace tessera;
    using namespace tessera::kernel;
    using namespace tessera::kernel::arch;
    cpus[0].self = &cpus[0];
    console_start();
    log_to_console();
    for (const Initialiser* i = __init_array_start; i != __init_array_end; i++)
        (*i)();

    EarlyMemory memory;
    Result<void> parsed = protocol == BOOT_PVH ? boot::parse_pvh(memory, info, info_store)
                                               : boot::parse_multiboot2(memory, info, info_store);
    if (!parsed)
        LOG(Failure, "boot", "the boot loader's information does not parse; some is missing");
    kernel_main();
}
