// Who owns the floating-point registers. The kernel never uses them, so a user thread's stay in the
// CPU across system calls and interrupts, and on a single CPU even while other threads run in the
// kernel. All with interrupts off.
#pragma once

namespace tessera::kernel::arch {

class UserContext;

struct FpuAccess {
    // The CPU's registers become `context`'s; whoever had them is saved.
    static void enter_user(UserContext& context);
    // The running thread leaves the CPU: with several CPUs it may come back on another.
    static void leave_thread();
    // Brings `context`'s state to memory and lets go of the registers.
    static void to_memory(UserContext& context);
    static void forget(UserContext& context);
};

} // namespace tessera::kernel::arch
