// The kernel's view of the address space: numbers that assembly and C++ share.
//
//   0xffff'8000'0000'0000  direct map of all RAM (read/write, never executable)
//   0xffff'c000'0000'0000  kernel stacks and device registers, mapped page by page
//   0xffff'ffff'8000'0000  the kernel image
#pragma once

#define BOOT_MULTIBOOT2 1
#define BOOT_PVH 2

#define DIRECT_MAP_SLOT 256
#define DIRECT_MAP_BASE 0xffff800000000000
#define KERNEL_MAP_SLOT 384
#define KERNEL_MAP_BASE 0xffffc00000000000
#define KERNEL_IMAGE_BASE 0xffffffff80000000

// Where application processors start: a free page below 1 MiB (kernel/arch/x86_64/smp.cpp).
#define TRAMPOLINE_PHYS 0x8000

#define SELECTOR_KERNEL_CODE 0x08
#define SELECTOR_KERNEL_DATA 0x10
#define SELECTOR_USER_CODE32 0x1b /* SYSRET wants 32-bit code, data, 64-bit code in this order */
#define SELECTOR_USER_DATA 0x23
#define SELECTOR_USER_CODE 0x2b
#define SELECTOR_TSS 0x30

// Offsets in Cpu (kernel/arch/x86_64/cpu.hpp), checked there.
#define CPU_SELF 0
#define CPU_KERNEL_RSP 8
#define CPU_SCRATCH 16
#define CPU_USER_REGISTERS 24
#define CPU_THREAD 32
#define CPU_CANARY 40
#define CPU_TSS 48
#define CPU_EXTRA 56

// Offsets in UserRegisters (kernel/arch/user.hpp).
#define R_RAX 0
#define R_RBX 8
#define R_RCX 16
#define R_RDX 24
#define R_RSI 32
#define R_RDI 40
#define R_RBP 48
#define R_R8 56
#define R_R9 64
#define R_R10 72
#define R_R11 80
#define R_R12 88
#define R_R13 96
#define R_R14 104
#define R_R15 112
#define R_RIP 120
#define R_RFLAGS 128
#define R_RSP 136

#define VECTOR_SYSCALL 0x100 /* what enter_user reports for SYSCALL; real vectors are below */
