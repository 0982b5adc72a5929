#include "tests/kernel/ktest.hpp"

#include "base/log.hpp"
#include "boot/boot_info.hpp"
#include "boot/kernel_main.hpp"
#include "kernel/arch/contract.hpp"

namespace tessera::kernel {
namespace test {
namespace {

Case* cases = nullptr;
unsigned failures_of_case = 0;

constexpr uint8_t kPassed = 0x10, kFailed = 0x11; // QEMU exits with 2 n + 1

} // namespace

Case::Case(const char* n, void (*r)(), bool f) : name(n), run(r), next(nullptr), fatal(f) {
    Case** end = &cases;
    while (*end)
        end = &(*end)->next;
    *end = this;
}

void fail(const char* file, int line, const char* what) {
    failures_of_case++;
    LOG(Failure, "test", "%s:%d: %s", file, line, what);
}

void run_all() {
    std::string_view only =
        boot::command_line_option(boot::boot_info().command_line.view(), "test");
    unsigned failed = 0;
    for (Case* c = cases; c; c = c->next) {
        if (only.empty() ? c->fatal : only != c->name) continue;
        failures_of_case = 0;
        c->run();
        LOG(Info, "test", "%s %s", failures_of_case ? "FAILED" : "ok", c->name);
        if (failures_of_case) failed++;
    }
    arch::power_off(failed ? kFailed : kPassed);
}

} // namespace test

void kernel_main() {
    LOG(Info, "test", "on %u processors", arch::cpu_count());
    test::run_all();
    arch::power_off();
}

} // namespace tessera::kernel
