// Where an application processor starts: copied to TRAMPOLINE_PHYS, entered in real mode. It borrows the boot page
// tables, takes what kernel/arch/x86_64/smp.cpp left for it (record, stack, page tables), and calls ap_start.

#include "boot/x86_64/layout.h"
#define AT(label) (TRAMPOLINE_PHYS + label - trampoline_begin)

    .section .rodata, "a"
    .balign 16
    .global trampoline_begin, trampoline_end, trampoline_stack, trampoline_cpu, trampoline_root
    .code16
trampoline_begin:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl AT(gdt_pointer)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $AT(protected_mode)

    .code32
protected_mode:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov %cr4, %eax
    or $(1 << 5), %eax
    mov %eax, %cr4
    mov $boot_pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $((1 << 8) | (1 << 11) | 1), %eax
    wrmsr
    mov %cr0, %eax
    and $0x9fffffff, %eax           // caches on
    or $0x80010001, %eax
    mov %eax, %cr0
    ljmpl $0x18, $AT(long_mode)

    .code64
long_mode:
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    mov AT(trampoline_cpu), %rdi
    mov %rdi, %rax
    mov %rdi, %rdx
    shr $32, %rdx
    mov $0xc0000101, %ecx
    wrmsr
    mov AT(trampoline_stack), %rbx
    mov AT(trampoline_root), %rsi
    movabs $ap_start_high, %rax
    jmp *%rax

    .balign 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdt_pointer:
    .short 31
    .long AT(gdt)
    .balign 8
trampoline_stack: .quad 0
trampoline_cpu: .quad 0
trampoline_root: .quad 0
trampoline_end:

    // In the kernel's text, where both the boot tables and the final ones agree.
    .section .text, "ax"
ap_start_high:
    mov %rsi, %cr3
    mov %rbx, %rsp
    xor %ebp, %ebp
    call ap_start                   // (the CPU's record)
    ud2
    .section .note.GNU-stack, "", @progbits
