// Every way into and out of the kernel after boot: exceptions and interrupts, system calls, ring 3, thread
// switches, and the instructions that touch user memory.
//
// Coming from ring 3 all registers go straight into the thread's UserRegisters and control continues where
// enter_user was called, with the kernel stack as it was then. Coming from ring 0 a TrapFrame is
// built and kernel_trap is called.

#include "boot/x86_64/layout.h"

    .section .text, "ax"

// SMAP: ring 0 may touch user pages only between STAC and CLAC. AC survives into an exception.
.macro user_access_off
    cmpb $0, smap_on(%rip)
    je .Loff\@
    clac
.Loff\@:
.endm
.macro user_access_on
    cmpb $0, smap_on(%rip)
    je .Lon\@
    stac
.Lon\@:
.endm

.macro push_all
    push %rax
    push %rbx
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
.endm
.macro pop_all
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbx
    pop %rax
.endm

// 256 stubs of 16 bytes: error code (real or 0), vector.
    .balign 16
    .global trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push $0
    .endif
    .if vector < 128
    push $vector
    .else
    pushq $vector
    .endif
    .if (vector == 2) || (vector == 8) || (vector == 18)
    jmp trap_paranoid
    .else
    jmp trap_common
    .endif
    .set vector, vector + 1
    .endr

    // On the stack: vector, error, rip, cs, rflags, rsp, ss.
trap_common:
    testb $3, 24(%rsp)
    jnz trap_from_user
    push_all
    user_access_off
    cld
    mov %rsp, %rdi
    call kernel_trap
    pop_all
    add $16, %rsp
    iretq

trap_from_user:
    swapgs
    push %rax
    mov %gs:CPU_USER_REGISTERS, %rax
    mov %rbx, R_RBX(%rax)
    mov %rcx, R_RCX(%rax)
    mov %rdx, R_RDX(%rax)
    mov %rsi, R_RSI(%rax)
    mov %rdi, R_RDI(%rax)
    mov %rbp, R_RBP(%rax)
    mov %r8, R_R8(%rax)
    mov %r9, R_R9(%rax)
    mov %r10, R_R10(%rax)
    mov %r11, R_R11(%rax)
    mov %r12, R_R12(%rax)
    mov %r13, R_R13(%rax)
    mov %r14, R_R14(%rax)
    mov %r15, R_R15(%rax)
    pop R_RAX(%rax)
    mov 16(%rsp), %rcx
    mov %rcx, R_RIP(%rax)
    mov 32(%rsp), %rcx
    mov %rcx, R_RFLAGS(%rax)
    mov 40(%rsp), %rcx
    mov %rcx, R_RSP(%rax)
    user_access_off
    cld
    mov 0(%rsp), %rax               // vector
    mov 8(%rsp), %rdx               // error code
    mov %gs:CPU_KERNEL_RSP, %rsp
    jmp leave_user

// NMI, double fault, machine check: on their own stacks, and possibly between a swapgs and its partner.
trap_paranoid:
    push_all
    user_access_off
    cld
    xor %r12d, %r12d
    mov $0xc0000101, %ecx           // GS_BASE: the kernel's has its top bit set, a user's never has
    rdmsr
    test %edx, %edx
    js 1f
    swapgs
    inc %r12d
1:  mov %rsp, %rdi
    call kernel_trap
    test %r12d, %r12d
    jz 2f
    swapgs
2:  pop_all
    add $16, %rsp
    iretq

// UserEntry enter_user(UserRegisters*): interrupts off. Returns (rax: vector or VECTOR_SYSCALL, rdx: error
// code) when the user comes back, interrupts off.
    .global enter_user
enter_user:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %gs:CPU_KERNEL_RSP
    mov %gs:CPU_TSS, %rax
    mov %rsp, 4(%rax)               // rsp0
    mov %rdi, %gs:CPU_USER_REGISTERS

    mov R_RIP(%rdi), %rcx
    mov R_RFLAGS(%rdi), %r11
    mov R_RBX(%rdi), %rbx
    mov R_RBP(%rdi), %rbp
    mov R_R8(%rdi), %r8
    mov R_R9(%rdi), %r9
    mov R_R10(%rdi), %r10
    mov R_R12(%rdi), %r12
    mov R_R13(%rdi), %r13
    mov R_R14(%rdi), %r14
    mov R_R15(%rdi), %r15
    mov R_RDX(%rdi), %rdx
    mov R_RSI(%rdi), %rsi
    // SYSRET leaves rip in rcx and rflags in r11: right exactly behind a SYSCALL. The caller has checked
    // that rip is a user address (SYSRET to a non-canonical one would fault in ring 0).
    cmp %rcx, R_RCX(%rdi)
    jne 1f
    cmp %r11, R_R11(%rdi)
    jne 1f
    mov R_RAX(%rdi), %rax
    mov R_RSP(%rdi), %rsp
    mov R_RDI(%rdi), %rdi
    swapgs
    sysretq
1:  push $SELECTOR_USER_DATA
    push R_RSP(%rdi)
    push %r11
    push $SELECTOR_USER_CODE
    push %rcx
    mov R_RAX(%rdi), %rax
    mov R_RCX(%rdi), %rcx
    mov R_R11(%rdi), %r11
    mov R_RDI(%rdi), %rdi
    swapgs
    iretq

// SYSCALL lands here: rcx = rip, r11 = rflags, interrupts, AC and DF off (SFMASK), still the user's stack.
    .global syscall_entry
syscall_entry:
    swapgs
    mov %rsp, %gs:CPU_SCRATCH
    mov %gs:CPU_USER_REGISTERS, %rsp
    mov %rax, R_RAX(%rsp)
    mov %rbx, R_RBX(%rsp)
    mov %rcx, R_RCX(%rsp)
    mov %rdx, R_RDX(%rsp)
    mov %rsi, R_RSI(%rsp)
    mov %rdi, R_RDI(%rsp)
    mov %rbp, R_RBP(%rsp)
    mov %r8, R_R8(%rsp)
    mov %r9, R_R9(%rsp)
    mov %r10, R_R10(%rsp)
    mov %r11, R_R11(%rsp)
    mov %r12, R_R12(%rsp)
    mov %r13, R_R13(%rsp)
    mov %r14, R_R14(%rsp)
    mov %r15, R_R15(%rsp)
    mov %rcx, R_RIP(%rsp)
    mov %r11, R_RFLAGS(%rsp)
    mov %gs:CPU_SCRATCH, %rax
    mov %rax, R_RSP(%rsp)
    mov %gs:CPU_KERNEL_RSP, %rsp
    mov $VECTOR_SYSCALL, %eax
    xor %edx, %edx
leave_user:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

// void switch_stacks(uint64_t* save_rsp, uint64_t rsp): interrupts off. Returns on the other stack.
    .global switch_stacks
switch_stacks:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

// An instruction range whose faults on user addresses may be resolved by the page-fault handler, and where to
// go if they cannot (kernel/arch/x86_64/traps.cpp).
.macro fixup from, to, target
    .section .fixups, "a"
    .quad \from, \to, \target
    .section .text, "ax"
.endm

// bool user_copy(void* to, const void* from, size_t n): either side may be user memory.
    .global user_copy
user_copy:
    user_access_on
copy_begin:
    cmp $32, %rdx
    jb 2f
1:  mov (%rsi), %rax
    mov 8(%rsi), %rcx
    mov 16(%rsi), %r8
    mov 24(%rsi), %r9
    mov %rax, (%rdi)
    mov %rcx, 8(%rdi)
    mov %r8, 16(%rdi)
    mov %r9, 24(%rdi)
    add $32, %rsi
    add $32, %rdi
    sub $32, %rdx
    cmp $32, %rdx
    jae 1b
2:  cmp $8, %rdx
    jb 3f
    mov (%rsi), %rax
    mov %rax, (%rdi)
    add $8, %rsi
    add $8, %rdi
    sub $8, %rdx
    jmp 2b
3:  test %rdx, %rdx
    jz 4f
    mov (%rsi), %al
    mov %al, (%rdi)
    inc %rsi
    inc %rdi
    dec %rdx
    jmp 3b
4:
copy_end:
    user_access_off
    mov $1, %eax
    ret
copy_failed:
    user_access_off
    xor %eax, %eax
    ret
    fixup copy_begin, copy_end, copy_failed

// bool user_zero(void* to, size_t n)
    .global user_zero
user_zero:
    user_access_on
zero_begin:
1:  cmp $8, %rsi
    jb 2f
    movq $0, (%rdi)
    add $8, %rdi
    sub $8, %rsi
    jmp 1b
2:  test %rsi, %rsi
    jz 3f
    movb $0, (%rdi)
    inc %rdi
    dec %rsi
    jmp 2b
3:
zero_end:
    user_access_off
    mov $1, %eax
    ret
    fixup zero_begin, zero_end, copy_failed

// int64_t user_string(char* to, const char* from, size_t n): length, n if no zero was found, -1: fault.
    .global user_string
user_string:
    user_access_on
    xor %eax, %eax
string_begin:
1:  cmp %rdx, %rax
    jae 2f
    mov (%rsi, %rax), %cl
    mov %cl, (%rdi, %rax)
    test %cl, %cl
    jz 2f
    inc %rax
    jmp 1b
2:
string_end:
    user_access_off
    ret
string_failed:
    user_access_off
    mov $-1, %rax
    ret
    fixup string_begin, string_end, string_failed

    .section .data, "aw"
    .global smap_on
smap_on: .byte 0
    .section .note.GNU-stack, "", @progbits
