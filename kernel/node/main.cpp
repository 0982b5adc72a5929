#include "base/log.hpp"
#include "boot/boot_info.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/node/kernel_main.hpp"
#include "kernel/node/roles.hpp"

namespace tessera::kernel {
namespace {

constexpr const char* kVersion = "0.1";

Result<void> run() {
    Own<node::Component> c = TRY(node::Component::create());
    switch (c->settings().role) {
        case rpc::NodeKind::Process:
            return node::run_process_role(*c);
        case rpc::NodeKind::Memory:
            return node::run_memory_role(*c);
        case rpc::NodeKind::Storage:
            return node::run_storage_role(*c);
        default:
            return std::unexpected(Error::InvalidArgument);
    }
}

} // namespace

void kernel_main() {
    const boot::BootInfo& boot = boot::boot_info();
    LOG(Info, "boot", "tessera %s booted by %.*s", kVersion, static_cast<int>(boot.loader.size),
        boot.loader.data);
    Result<void> r = run();
    LOG(Failure, "boot", "this component cannot start: %s; switching off",
        r ? "its role ended" : describe(r.error()).data());
    arch::power_off();
}

} // namespace tessera::kernel
