// The per-CPU record, found through %gs, and the instructions C++ has no words for.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/list.hpp"
#include "base/units.hpp"
#include "boot/x86_64/layout.h"
#include "kernel/arch/contract.hpp"

namespace tessera::kernel::arch {

class UserContext;
struct UserRegisters;

// Intel SDM volume 3, 8.7 "Task management in 64-bit mode".
struct [[gnu::packed]] TaskState {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;
};
static_assert(sizeof(TaskState) == 104);

struct Cpu {
    // Known to assembly (boot/x86_64/layout.h).
    Cpu* self;
    uint64_t kernel_rsp; // where run_user continues
    uint64_t scratch;
    UserRegisters* user_registers;
    void* thread; // sched's current thread
    uint64_t canary;
    TaskState* tss;
    uint64_t extra;

    unsigned id;
    uint32_t apic_id;
    std::atomic<bool> online;
    alignas(16) TaskState task_state;
    alignas(16) std::array<uint64_t, 8> gdt;

    // Address translation.
    std::atomic<uint64_t> loaded_root; // CR3
    std::atomic<uint32_t> flush_requests, flushes_done;

    // User state that is in registers (kernel/arch/x86_64/user.cpp).
    UserContext* fpu_owner;
    UserContext* bases_of;
    uint64_t loaded_fs, loaded_gs;

    // Work that interrupts marked.
    std::atomic<bool> irq_marked;
    std::atomic<bool> reschedule;
};
static_assert(offsetof(Cpu, kernel_rsp) == CPU_KERNEL_RSP);
static_assert(offsetof(Cpu, scratch) == CPU_SCRATCH);
static_assert(offsetof(Cpu, user_registers) == CPU_USER_REGISTERS);
static_assert(offsetof(Cpu, thread) == CPU_THREAD);
static_assert(offsetof(Cpu, canary) == CPU_CANARY);
static_assert(offsetof(Cpu, tss) == CPU_TSS);

extern Cpu cpus[kMaxCpus] asm("boot_cpu_area"); // the first is %gs before any C++ runs (start.S)

// Stable only with interrupts off.
inline Cpu& this_cpu() {
    Cpu* c;
    asm volatile("mov %%gs:0, %0" : "=r"(c));
    return *c;
}

// The running thread; stable, because it moves with us.
inline void* current_thread() {
    void* t;
    asm volatile("mov %%gs:%c1, %0" : "=r"(t) : "i"(CPU_THREAD));
    return t;
}

inline uint64_t read_msr(uint32_t number) {
    uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return static_cast<uint64_t>(high) << 32 | low;
}
inline void write_msr(uint32_t number, uint64_t v) {
    asm volatile("wrmsr"
                 :
                 : "c"(number), "a"(static_cast<uint32_t>(v)), "d"(static_cast<uint32_t>(v >> 32))
                 : "memory");
}

inline constexpr uint32_t kMsrApicBase = 0x1b, kMsrEfer = 0xc0000080, kMsrStar = 0xc0000081,
                          kMsrLstar = 0xc0000082, kMsrSfmask = 0xc0000084, kMsrFsBase = 0xc0000100,
                          kMsrGsBase = 0xc0000101, kMsrKernelGsBase = 0xc0000102;

struct CpuidResult {
    uint32_t a, b, c, d;
};
inline CpuidResult cpuid(uint32_t leaf, uint32_t sub = 0) {
    CpuidResult r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}

inline uint64_t read_cr0() {
    uint64_t v;
    asm volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}
inline void write_cr0(uint64_t v) {
    asm volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}
inline uint64_t read_cr2() {
    uint64_t v;
    asm volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}
inline uint64_t read_cr3() {
    uint64_t v;
    asm volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}
inline void write_cr3(uint64_t v) {
    asm volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}
inline uint64_t read_cr4() {
    uint64_t v;
    asm volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}
inline void write_cr4(uint64_t v) {
    asm volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}
inline void invalidate_page(uint64_t address) {
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

inline constexpr uint64_t kCr0WriteProtect = 1 << 16, kCr4Osfxsr = 1 << 9, kCr4Osxmmexcpt = 1 << 10,
                          kCr4Smep = 1 << 20, kCr4Smap = 1 << 21;

} // namespace tessera::kernel::arch
