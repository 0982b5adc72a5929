// Running user code. A user thread is a kernel thread whose body is a loop:
//
//   for (;;) {
//       UserExit exit = run_user(context);
//       switch (exit.reason) { case UserExitReason::Syscall: ... }
//   }
//
// run_user enters ring 3 with the registers in `context` and returns when the user thread makes a
// system call, faults or must look at something (a kick). Device interrupts and preemption are
// handled inside and not seen. So at the user boundary nothing of the thread lies on its kernel
// stack: it can be signalled, checkpointed or thrown away. The caller has activated its PageTable.
// Call with interrupts on; it returns with interrupts on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "kernel/mm/address.hpp"
#include "kernel/mm/user_copy.hpp"

namespace tessera::kernel::arch {

struct UserRegisters {
    uint64_t rax = 0, rbx = 0, rcx = 0, rdx = 0, rsi = 0, rdi = 0, rbp = 0;
    uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
    uint64_t rip = 0, rflags = 0x202, rsp = 0;
    uint64_t fs_base = 0, gs_base = 0;
};
static_assert(sizeof(UserRegisters) == 20 * 8); // entry.S knows the order

enum class UserExitReason : uint8_t {
    Syscall,   // number in rax, arguments in rdi rsi rdx r10 r8 r9; rip is behind the instruction
    PageFault, // address, access; rip is at the instruction
    Exception, // vector (x86 number), error_code; rip is at the instruction (behind it for int3)
    Kicked,    // Thread::kick: nothing happened, look at pending signals
};

struct UserExit {
    UserExitReason reason = UserExitReason::Syscall;
    uint8_t vector = 0;
    Access access = Access::Read;
    bool present = false; // PageFault: a translation was there, the right was missing
    uint32_t error_code = 0;
    VirtAddr address;
};

inline constexpr uint8_t kDivideError = 0, kDebugException = 1, kBreakpoint = 3, kInvalidOpcode = 6,
                         kGeneralProtection = 13, kFloatingPoint = 16, kAlignmentCheck = 17,
                         kSimdFloatingPoint = 19;

// Registers and floating-point state of one user thread. The floating-point state is kept in the
// CPU while possible: fpu() brings it to memory first and makes the next entry load it again.
class UserContext {
  public:
    UserContext(); // zero registers, initial floating-point state
    ~UserContext();
    UserContext(const UserContext&) = delete;
    UserContext& operator=(const UserContext&) = delete;

    UserRegisters registers;

    // The FXSAVE image (512 bytes, the layout of a signal frame), for signal frames, fork and exec.
    // By the owning thread only. What is written into it is what the user thread sees.
    MutableBytes fpu();
    void copy_fpu_from(UserContext& other);
    void reset_fpu();

  private:
    friend struct FpuAccess; // kernel/arch/x86_64/fpu.hpp
    alignas(64) std::byte fpu_[512];
    bool fpu_live_ = false; // newer in the CPU than in fpu_
};

UserExit run_user(UserContext& context);

} // namespace tessera::kernel::arch
