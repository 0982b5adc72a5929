#include "kernel/rt/panic.hpp"

#include <atomic>
#include <cstdarg>

#include "base/format.hpp"
#include "boot/x86_64/layout.h"
#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/serial.hpp"
#include "kernel/arch/x86_64/stop.hpp"
#include "kernel/rt/symbols.hpp"
#include "kernel/sync/thread.hpp"

namespace tessera::kernel {
namespace {

constexpr int kNobody = -1;
std::atomic<int> panicking_cpu{kNobody};

void print(const char* format, ...) {
    char line[300];
    va_list arguments;
    va_start(arguments, format);
    format_arguments(line, sizeof line, format, arguments);
    va_end(arguments);
    arch::console_write(line);
}

void print_frame(uint64_t address) {
    Symbol s = symbol_at(address);
    print("  %016lx %.*s+%#lx\n", address, static_cast<int>(s.name.size()), s.name.data(),
          s.offset);
}

// Frames by the chain of saved rbp; stops at anything that does not look like a stack.
void print_backtrace(PanicOrigin origin) {
    print_frame(origin.rip);
    uint64_t frame = origin.rbp;
    for (int depth = 0; depth < 40; depth++) {
        if (frame < DIRECT_MAP_BASE || frame % 8 != 0) return;
        auto* words = reinterpret_cast<const uint64_t*>(frame);
        if (words[1] < KERNEL_IMAGE_BASE) return;
        print_frame(words[1] - 1); // inside the call, which may be a function's last instruction
        if (words[0] <= frame) return;
        frame = words[0];
    }
}

[[noreturn]] void end(PanicOrigin origin, const char* format, va_list arguments) {
    arch::irq_disable();
    int me = static_cast<int>(arch::cpu_id());
    int nobody = kNobody;
    if (!panicking_cpu.compare_exchange_strong(nobody, me)) {
        if (nobody != me) {
            for (;;)
                arch::pause(); // another CPU was first; it will stop us
        }
        arch::console_write("\npanic: again, while reporting the first\n");
        arch::power_off(0x7f);
    }
    arch::stop_other_cpus();
    arch::console_break_lock();
    char text[300];
    format_arguments(text, sizeof text, format, arguments);
    print("\npanic: %s\n  on cpu %d in thread %s\n", text, me,
          arch::current_thread() ? Thread::current().name() : "boot");
    print_backtrace(origin);
    print("the machine stops here\n");
    arch::power_off(0x7f);
}

} // namespace

void panic(const char* format, ...) {
    PanicOrigin origin{reinterpret_cast<uint64_t>(__builtin_return_address(0)) - 1,
                       reinterpret_cast<uint64_t>(__builtin_frame_address(0))};
    origin.rbp = *reinterpret_cast<const uint64_t*>(origin.rbp); // our caller's
    va_list arguments;
    va_start(arguments, format);
    end(origin, format, arguments);
}

void panic_at(PanicOrigin origin, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    end(origin, format, arguments);
}

} // namespace tessera::kernel

namespace tessera::kernel::arch {
void stop_if_panicking() {
    int cpu = panicking_cpu.load();
    if (cpu == kNobody || cpu == static_cast<int>(cpu_id())) return;
    for (;;)
        asm volatile("cli; hlt");
}
} // namespace tessera::kernel::arch
