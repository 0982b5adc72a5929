// The user boundary: what a task does each time before it goes (back) to user mode.
//
// Stops, exits, default actions, handler frames, restarting interrupted calls. After it returned
// Run, registers are what user mode sees next. Frame layout: struct rt_sigframe of Linux x86-64.
#pragma once

#include "base/result.hpp"

namespace tessera::posix {

class Task;
struct SignalInfo;

enum class Boundary : unsigned char { Run, Exit };

// A call that ended in Interrupted: its number (rax holds kRestart's value until decided here).
struct PendingRestart {
    bool active = false;
    unsigned long call = 0;
    bool never_after_handler = false; // nanosleep, poll, sigsuspend…: EINTR even with SA_RESTART
};

Boundary user_boundary(Task& t, PendingRestart restart);

// rt_sigreturn. On a frame that cannot be read: SIGSEGV is forced.
Result<void> return_from_handler(Task& t);

// A fault of user code: if the signal is blocked or ignored, the default action kills anyway.
void force_signal(Task& t, SignalInfo s);

} // namespace tessera::posix
