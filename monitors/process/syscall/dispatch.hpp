// System calls of Linux x86-64: the table and the loop that runs a task.
//
// table.cpp has one row per call; its handler is a typed function in its family's file. A call
// without a row answers -ENOSYS and is counted. Errors become errno numbers here and nowhere else.
#pragma once

#include <cstdint>

#include "base/function.hpp"
#include "kernel/arch/user.hpp"

namespace tessera::posix {
class Task;
}

namespace tessera::syscalls {

// Runs the call in the registers; returns what goes into rax: a value or -errno. Calls that end in
// Error::Interrupted give kRestart: the task loop decides between EINTR and running the call again.
long dispatch(posix::Task& task, kernel::arch::UserRegisters& registers);
inline constexpr long kRestart = -512;

// The body of every task's thread: enters user mode, serves calls and faults, delivers signals,
// ends.
void run_task(posix::Task& task);

struct CallCount {
    uint16_t number;
    const char* name; // "" for a call without a row
    uint64_t calls;
    uint64_t errors;
    bool implemented;
};
// Visits every call that was made since boot.
void for_each_count(Function<void(const CallCount&)> visit);
uint64_t unimplemented_calls(); // total answered with ENOSYS
const char* call_name(uint64_t number);

} // namespace tessera::syscalls
