// The life of a task's thread.
#include "monitors/process/posix/process/lifecycle.hpp"
#include "monitors/process/posix/signal/boundary.hpp"
#include "monitors/process/posix/vnode/vnode.hpp"
#include "monitors/process/syscall/dispatch.hpp"
#include "monitors/process/syscall/table.hpp"
#include "monitors/process/syscall/user.hpp"

namespace tessera::syscalls {
namespace {

using namespace tessera::posix;
using kernel::Thread;
using kernel::arch::UserExit;
using kernel::arch::UserExitReason;

void page_fault(Task& t, const UserExit& e) {
    Protection access = e.access == kernel::Access::Write     ? Protection::Write
                        : e.access == kernel::Access::Execute ? Protection::Execute
                                                              : Protection::Read;
    t.vnode().counters.faults++;
    Result<void> r = t.space().fault(e.address.value, access);
    if (r || r.error() == Error::Interrupted) return;
    switch (r.error()) {
        case Error::BadAddress:
            return force_signal(
                t, {.number = kSigSegv, .code = kSegvMapErr, .address = e.address.value});
        case Error::AccessDenied:
            return force_signal(
                t, {.number = kSigSegv, .code = kSegvAccErr, .address = e.address.value});
        default:
            return page_unavailable(t, e.address.value, r.error());
    }
}

void exception(Task& t, const UserExit& e) {
    using namespace kernel::arch;
    uint64_t at = t.context.registers.rip;
    SignalInfo s{.number = kSigSegv, .code = kSiKernel, .address = 0};
    switch (e.vector) {
        case kDivideError:
            s = {.number = kSigFpe, .code = kFpeIntDiv, .address = at};
            break;
        case kFloatingPoint:
        case kSimdFloatingPoint:
            s = {.number = kSigFpe, .code = 3, .address = at};
            break;
        case kInvalidOpcode:
            s = {.number = kSigIll, .code = kIllIllOpn, .address = at};
            break;
        case kDebugException:
        case kBreakpoint:
            s = {.number = kSigTrap, .code = kTrapBrkpt, .address = at};
            break;
        case kAlignmentCheck:
            s = {.number = kSigBus, .code = kBusAdrAln, .address = at};
            break;
        default:
            break; // #GP and the rest: SIGSEGV
    }
    force_signal(t, s);
}

} // namespace

void run_task(Task& t) {
    PendingRestart restart;
    t.space().activate();
    Nanos mark = Thread::now();
    int64_t slept = 0;
    for (;;) {
        if (t.exiting || user_boundary(t, restart) == Boundary::Exit) break;
        restart = {};
        Nanos entered = Thread::now();
        int64_t blocked = t.blocked_ns;
        t.system_ns += std::max<int64_t>(0, (entered - mark).value - (blocked - slept));
        slept = blocked;
        UserExit e = kernel::arch::run_user(t.context);
        mark = Thread::now();
        t.user_ns += (mark - entered).value;
        switch (e.reason) {
            case UserExitReason::Syscall: {
                uint64_t number = t.context.registers.rax;
                // exec and sigreturn replace the registers: their results are in place already.
                long result = dispatch(t, t.context.registers);
                bool replaced = number == 15 || ((number == 59 || number == 322) && result == 0);
                if (result == kRestart && !replaced) {
                    const Row* row = row_of(number);
                    restart = {true, number, row && row->never_restarts};
                } else if (!replaced) {
                    t.context.registers.rax = static_cast<uint64_t>(result);
                }
                break;
            }
            case UserExitReason::PageFault:
                page_fault(t, e);
                break;
            case UserExitReason::Exception:
                exception(t, e);
                break;
            case UserExitReason::Kicked:
                break;
        }
    }
    finish_task(t);
}

} // namespace tessera::syscalls
