#include "kernel/arch/x86_64/serial.hpp"

#include <atomic>

#include "base/format.hpp"
#include "base/log.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/sync/spinlock.hpp"

namespace tessera::kernel::arch {
namespace {

constexpr uint16_t kCom1 = 0x3f8;
constexpr uint16_t kLineControl = kCom1 + 3, kModemControl = kCom1 + 4, kLineStatus = kCom1 + 5,
                   kScratch = kCom1 + 7;
constexpr uint8_t kTransmitEmpty = 0x20;

constinit Spinlock lock;
std::atomic<bool> present{false};
std::atomic<bool> broken{false};

void put(char c) {
    // A UART that never gets ready must not hang the kernel: the byte is lost after some 10 ms.
    for (int i = 0; i < 100'000 && !(in8(kLineStatus) & kTransmitEmpty); i++)
        pause();
    out8(kCom1, static_cast<uint8_t>(c));
}

void put_all(std::string_view text) {
    for (char c : text) {
        if (c == '\n') put('\r');
        put(c);
    }
}

void write_log_line(LogLevel level, const char* area, std::string_view line) {
    const char* mark = level == LogLevel::Failure   ? "ERROR "
                       : level == LogLevel::Warning ? "warning "
                                                    : "";
    int64_t us = now().value / 1000;
    char head[64];
    size_t n = format_text(head, sizeof head, "[%4lld.%06lld] %s: %s",
                           static_cast<long long>(us / 1'000'000),
                           static_cast<long long>(us % 1'000'000), area, mark);
    if (n >= sizeof head) n = sizeof head - 1;
    if (!present.load()) return;
    bool ignore_lock = broken.load();
    uint64_t saved = ignore_lock ? irq_save() : lock.lock();
    put_all({head, n});
    put_all(line);
    put_all("\n");
    ignore_lock ? irq_restore(saved) : lock.unlock(saved);
}

} // namespace

void console_start() {
    out8(kScratch, 0x5a);
    if (in8(kScratch) != 0x5a) return; // no UART there
    out8(kCom1 + 1, 0);                // no interrupts
    out8(kLineControl, 0x80);          // divisor latch
    out8(kCom1 + 0, 1);                // 115200
    out8(kCom1 + 1, 0);
    out8(kLineControl, 0x03);  // 8N1
    out8(kCom1 + 2, 0xc7);     // FIFO on, cleared
    out8(kModemControl, 0x0b); // DTR, RTS
    present.store(true);
}

void console_write(std::string_view text) {
    if (!present.load()) return;
    if (broken.load()) return put_all(text);
    SpinGuard guard(lock);
    put_all(text);
}

void log_to_console() {
    set_log_sink(write_log_line);
}

void console_break_lock() {
    broken.store(true);
}

} // namespace tessera::kernel::arch
