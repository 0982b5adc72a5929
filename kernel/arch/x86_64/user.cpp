#include "kernel/arch/user.hpp"

#include <cstring>

#include "base/assert.hpp"
#include "kernel/arch/contract.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/fpu.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/sched/internal.hpp"

extern "C" {
struct UserEntry {
    uint64_t vector, error;
};
UserEntry enter_user(tessera::kernel::arch::UserRegisters* registers); // entry.S
}

namespace tessera::kernel::arch {
namespace {

// CF PF AF ZF SF TF DF OF NT AC ID: what a user may set; interrupts are always on.
constexpr uint64_t kUserFlags = 0x244dd5, kFixedFlags = 0x202;

constexpr uint64_t kCanonicalEnd = 1ull << 47;

UserExit exception(uint8_t vector, uint64_t error) {
    UserExit e;
    e.reason = UserExitReason::Exception;
    e.vector = vector;
    e.error_code = static_cast<uint32_t>(error);
    return e;
}

UserExit page_fault(uint64_t address, uint64_t error) {
    UserExit e;
    e.reason = UserExitReason::PageFault;
    e.vector = kVectorPageFault;
    e.error_code = static_cast<uint32_t>(error);
    e.address = VirtAddr(address);
    e.present = error & 1;
    e.access = error & 16 ? Access::Execute : error & 2 ? Access::Write : Access::Read;
    return e;
}

// FS and GS bases are the user's while it runs; they change only by arch_prctl, hence by
// `registers`. (FSGSBASE stays off.)
void load_bases(Cpu& cpu, UserContext& c) {
    const UserRegisters& r = c.registers;
    if (cpu.bases_of == &c && cpu.loaded_fs == r.fs_base && cpu.loaded_gs == r.gs_base) return;
    write_msr(kMsrFsBase, r.fs_base);
    write_msr(kMsrKernelGsBase, r.gs_base); // becomes GS_BASE with the swapgs on the way out
    cpu.bases_of = &c;
    cpu.loaded_fs = r.fs_base;
    cpu.loaded_gs = r.gs_base;
}

void fxsave(std::byte* to) {
    asm volatile("fxsave64 (%0)" : : "r"(to) : "memory");
}
void fxrstor(const std::byte* from) {
    asm volatile("fxrstor64 (%0)" : : "r"(from) : "memory");
}

constexpr uint32_t kMxcsrMask = 0xffff;

} // namespace

UserContext::UserContext() {
    reset_fpu();
}

UserContext::~UserContext() {
    IrqGuard guard;
    FpuAccess::forget(*this);
    for (unsigned i = 0; i < cpu_count(); i++) {
        if (cpus[i].bases_of == this) cpus[i].bases_of = nullptr;
    }
}

MutableBytes UserContext::fpu() {
    IrqGuard guard;
    FpuAccess::to_memory(*this);
    return fpu_;
}

void UserContext::copy_fpu_from(UserContext& other) {
    MutableBytes from = other.fpu();
    std::memcpy(fpu().data(), from.data(), from.size());
}

void UserContext::reset_fpu() {
    {
        IrqGuard guard;
        FpuAccess::forget(*this);
    }
    std::memset(fpu_, 0, sizeof fpu_);
    store<uint16_t>(MutableBytes(fpu_), 0x37f);               // FCW
    store<uint32_t>(MutableBytes(fpu_).subspan(24), 0x1f80u); // MXCSR
}

void FpuAccess::enter_user(UserContext& c) {
    Cpu& cpu = this_cpu();
    if (cpu.fpu_owner == &c && c.fpu_live_) return;
    if (cpu.fpu_owner) to_memory(*cpu.fpu_owner);
    // A signal frame may hold anything; reserved MXCSR bits would fault here, in ring 0.
    uint32_t mxcsr = load<uint32_t>(Bytes(c.fpu_).subspan(24)) & kMxcsrMask;
    store(MutableBytes(c.fpu_).subspan(24), mxcsr);
    fxrstor(c.fpu_);
    cpu.fpu_owner = &c;
    c.fpu_live_ = true;
}

void FpuAccess::to_memory(UserContext& c) {
    if (!c.fpu_live_) return;
    Cpu& cpu = this_cpu();
    ASSERT(cpu.fpu_owner == &c);
    fxsave(c.fpu_);
    c.fpu_live_ = false;
    cpu.fpu_owner = nullptr;
}

void FpuAccess::leave_thread() {
    if (cpu_count() == 1) return;
    if (UserContext* owner = this_cpu().fpu_owner) to_memory(*owner);
}

void FpuAccess::forget(UserContext& c) {
    if (!c.fpu_live_) return;
    c.fpu_live_ = false;
    for (unsigned i = 0; i < cpu_count(); i++) {
        if (cpus[i].fpu_owner == &c) cpus[i].fpu_owner = nullptr;
    }
}

UserExit run_user(UserContext& c) {
    ASSERT(interrupts_enabled());
    UserRegisters& r = c.registers;
    // What came from a signal frame or a core must not fault in ring 0.
    if (r.rip >= kCanonicalEnd || r.fs_base >= kCanonicalEnd || r.gs_base >= kCanonicalEnd)
        return exception(kGeneralProtection, 0);
    uint64_t wanted = r.rflags;
    r.rflags = (wanted & kUserFlags) | kFixedFlags;
    if (r.r11 == wanted) r.r11 = r.rflags;
    for (;;) {
        irq_disable();
        if (Thread::current().kicked()) {
            irq_enable();
            UserExit e;
            e.reason = UserExitReason::Kicked;
            return e;
        }
        if (sched::before_user()) {
            irq_enable();
            continue;
        }
        Cpu& cpu = this_cpu();
        FpuAccess::enter_user(c);
        load_bases(cpu, c);
        UserEntry entry = ::enter_user(&r);
        if (entry.vector >= kFirstIrqVector && entry.vector < VECTOR_SYSCALL) {
            handle_interrupt(static_cast<uint8_t>(entry.vector));
            continue;
        }
        uint64_t address = entry.vector == kVectorPageFault ? read_cr2() : 0;
        irq_enable();
        if (entry.vector == VECTOR_SYSCALL) return UserExit{};
        if (entry.vector == kVectorPageFault) return page_fault(address, entry.error);
        return exception(static_cast<uint8_t>(entry.vector), entry.error);
    }
}

} // namespace tessera::kernel::arch
