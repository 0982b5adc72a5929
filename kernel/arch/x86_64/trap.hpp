// Exceptions and interrupts that arrive in ring 0, and the descriptor tables that lead there.
#pragma once

#include <cstdint>

#include "kernel/arch/x86_64/cpu.hpp"

namespace tessera::kernel::arch {

// As entry.S builds it.
struct TrapFrame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

inline constexpr uint8_t kVectorNmi = 2, kVectorInvalidOpcode = 6, kVectorDoubleFault = 8,
                         kVectorPageFault = 14, kVectorMachineCheck = 18;
inline constexpr uint8_t kFirstIrqVector = 32; // .. 0xef: allocate_irq
inline constexpr uint8_t kVectorTimer = 0xf0;  // local APIC timer
inline constexpr uint8_t kVectorWakeUp = 0xf1; // look at the run queue
inline constexpr uint8_t kVectorFlush = 0xf2;  // TLB shootdown
inline constexpr uint8_t kVectorSpurious = 0xff;

// GDT, TSS, IDT, SYSCALL, control registers of the calling CPU. `cpu` is already in %gs.
void load_descriptors(Cpu& cpu);
// Stacks of its own for NMI, double fault and machine check, so that a stack overflow can be told.
void set_emergency_stacks(Cpu& cpu);

// Any vector from 32 up, from ring 0 or ring 3, interrupts off: runs the handler and acknowledges.
void handle_interrupt(uint8_t vector);

} // namespace tessera::kernel::arch
