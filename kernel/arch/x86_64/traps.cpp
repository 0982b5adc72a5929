#include "kernel/arch/user.hpp"
#include "kernel/arch/x86_64/stop.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/mm/kernel_map.hpp"
#include "kernel/mm/user_copy.hpp"
#include "kernel/rt/panic.hpp"
#include "kernel/sched/internal.hpp"

extern "C" {
void kernel_trap(tessera::kernel::arch::TrapFrame* frame);

struct Fixup {
    uint64_t from, to, target;
};
extern const Fixup __fixups_start[], __fixups_end[];
}

namespace tessera::kernel {

namespace {
std::atomic<PageFaultHandler> page_fault_handler{nullptr};
}

void set_page_fault_handler(PageFaultHandler handler) {
    page_fault_handler.store(handler);
}

namespace arch {
namespace {

const char* name_of(uint64_t vector) {
    static constexpr const char* kNames[] = {"divide error",
                                             "debug exception",
                                             "NMI",
                                             "breakpoint",
                                             "overflow",
                                             "bound range",
                                             "invalid opcode",
                                             "device not available",
                                             "double fault",
                                             "?",
                                             "invalid TSS",
                                             "segment not present",
                                             "stack fault",
                                             "general protection",
                                             "page fault",
                                             "?",
                                             "x87 error",
                                             "alignment check",
                                             "machine check",
                                             "SIMD error"};
    return vector < std::size(kNames) ? kNames[vector] : "exception";
}

// clang's -fsanitize-trap ends in `ud1 imm8(%eax), %eax`, the immediate saying which check failed
// (clang/lib/CodeGen/SanitizerHandler.h).
const char* undefined_behaviour_at(uint64_t rip) {
    static constexpr const char* kKinds[] = {"addition overflows",
                                             "unreachable code reached",
                                             "bad indirect call",
                                             "division overflows",
                                             "wrong dynamic type",
                                             "float out of range",
                                             "wrong function type",
                                             "implicit conversion loses",
                                             "invalid builtin argument",
                                             "bad cast",
                                             "invalid bool or enum value",
                                             "missing return",
                                             "multiplication overflows",
                                             "negation overflows",
                                             "null argument",
                                             "null result",
                                             "null argument",
                                             "null result",
                                             "index out of bounds",
                                             "pointer overflows",
                                             "shift out of range",
                                             "subtraction overflows",
                                             "null or misaligned pointer",
                                             "wrong alignment assumption",
                                             "array size not positive"};
    auto* code = reinterpret_cast<const uint8_t*>(rip);
    if (code[0] == 0x67) code++;
    if (code[0] == 0x0f && code[1] == 0xb9) {
        uint8_t kind = code[2] >> 6 == 1 ? code[3] : 0;
        return kind < std::size(kKinds) ? kKinds[kind] : "undefined behaviour";
    }
    if (code[0] == 0x0f && code[1] == 0x0b)
        return "trap (a library bounds check, or unreachable code)";
    return nullptr;
}

const Fixup* fixup_for(uint64_t rip) {
    for (const Fixup* f = __fixups_start; f != __fixups_end; f++) {
        if (rip >= f->from && rip < f->to) return f;
    }
    return nullptr;
}

[[noreturn]] void die(const TrapFrame& f) {
    PanicOrigin origin{f.rip, f.rbp};
    if (f.vector == kVectorInvalidOpcode) {
        if (const char* what = undefined_behaviour_at(f.rip)) panic_at(origin, "%s", what);
    }
    if (f.vector == kVectorPageFault || f.vector == kVectorDoubleFault) {
        uint64_t address = read_cr2();
        if (is_stack_guard(VirtAddr(address)))
            panic_at(origin, "kernel stack overflow (guard page at %#lx hit)", address);
        if (f.vector == kVectorPageFault) {
            panic_at(origin, "page fault: %s of %#lx (%s)",
                     f.error & 16  ? "execution"
                     : f.error & 2 ? "write"
                                   : "read",
                     address, f.error & 1 ? "not permitted" : "not mapped");
        }
    }
    panic_at(origin, "%s (vector %lu, error %#lx)", name_of(f.vector), f.vector, f.error);
}

void kernel_page_fault(TrapFrame& f) {
    VirtAddr address(read_cr2());
    const Fixup* fixup = fixup_for(f.rip);
    if (!fixup || address.value >> 47) die(f);
    // Only the user copy functions get here; they checked that sleeping is allowed. Interrupts were
    // on.
    PageFaultHandler handler = page_fault_handler.load();
    bool resolved = false;
    if (handler && is_user_range(address, 1)) {
        irq_enable();
        resolved = handler(address, f.error & 2 ? Access::Write : Access::Read).has_value();
        irq_disable();
    }
    if (!resolved) f.rip = fixup->target;
}

} // namespace
} // namespace arch
} // namespace tessera::kernel

void kernel_trap(tessera::kernel::arch::TrapFrame* frame) {
    using namespace tessera::kernel;
    using namespace tessera::kernel::arch;
    TrapFrame& f = *frame;
    if (f.vector >= kFirstIrqVector) {
        handle_interrupt(static_cast<uint8_t>(f.vector));
        sched::preempt_point();
        return;
    }
    switch (f.vector) {
        case kVectorPageFault:
            kernel_page_fault(f);
            return;
        case kVectorNmi:
            stop_if_panicking(); // otherwise somebody pressed a button; a lock may be held: say
                                 // nothing
            return;
        case 13: // a non-canonical user pointer in a copy
            if (const Fixup* fixup = fixup_for(f.rip)) {
                f.rip = fixup->target;
                return;
            }
            die(f);
        default:
            die(f);
    }
}
