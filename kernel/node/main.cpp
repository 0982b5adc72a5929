#include "base/log.hpp"
#include "boot/boot_info.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/node/kernel_main.hpp"

namespace tessera::kernel {
namespace {

constexpr const char* kVersion = "0.1";

} // namespace

void kernel_main() {
    const boot::BootInfo& boot = boot::boot_info();
    std::string_view role = boot::command_line_option(boot.command_line.view(), "role");
    if (role.empty()) role = "none";
    LOG(Info, "boot", "tessera: %s booted by %.*s role=%.*s", kVersion,
        static_cast<int>(boot.loader.size), boot.loader.data, static_cast<int>(role.size()),
        role.data());
    for (;;)
        arch::halt_until_interrupt();
}

} // namespace tessera::kernel
