// COM1: the kernel's console. Output only, polled (a 16550; under QEMU a byte costs one port
// write).
//
// console_write may be called from anywhere, interrupts and panics included. log_to_console
// installs the log sink: "[seconds] area: text".
#pragma once

#include <string_view>

namespace tessera::kernel::arch {

void console_start(); // programs the UART, 115200 8N1
void console_write(std::string_view text);
void log_to_console();
// From now on nobody waits for the console's lock: its holder may be stopped. For panic.
void console_break_lock();

} // namespace tessera::kernel::arch
