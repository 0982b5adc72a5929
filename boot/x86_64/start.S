// From the boot loader (32-bit protected mode, paging off) to kernel_start in 64-bit mode.
//
// Two ways in: boot_start (multiboot2: eax = magic, ebx = info) and pvh_start (PVH: ebx = start_info). Both
// build the same throw-away page tables: the first 4 GiB identity mapped, again at the direct map's
// address and, their first 1 GiB, at -2 GiB. kernel/mm replaces them; application processors use them
// again for a moment (trampoline.S).

#include "boot/x86_64/layout.h"

    .section .multiboot2, "a"
    .balign 8
header:
    .long 0xe85250d6, 0, header_end - header
    .long -(0xe85250d6 + 0 + (header_end - header))
    .short 6, 0                     // modules page aligned
    .long 8
    .short 0, 0
    .long 8
header_end:

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18                  // name "Xen", XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_start

    .section .boot.text, "ax"
    .code32
    .global boot_start
boot_start:
    cli
    cld
    cmp $0x36d76289, %eax
    jne dead
    mov $BOOT_MULTIBOOT2, %ebp
    jmp common
    .global pvh_start
pvh_start:
    cli
    cld
    mov $BOOT_PVH, %ebp
common:
    mov %ebx, %esi                  // info; cpuid takes ebx
    mov $boot_stack_top, %esp
    // .boot.bss was zeroed by the loader (it is part of the image).
    mov $boot_pd, %edi              // 2048 entries of 2 MiB
    mov $0x83, %eax                 // present, writable, large
    mov $2048, %ecx
1:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $0x200000, %eax
    add $8, %edi
    dec %ecx
    jnz 1b
    mov $boot_pd + 3, %eax
    mov $boot_pdpt, %edi
    mov $4, %ecx
2:  mov %eax, (%edi)
    add $4096, %eax
    add $8, %edi
    dec %ecx
    jnz 2b
    movl $boot_pd + 3, boot_pdpt_high + 510 * 8
    movl $boot_pdpt + 3, boot_pml4
    movl $boot_pdpt + 3, boot_pml4 + DIRECT_MAP_SLOT * 8
    movl $boot_pdpt_high + 3, boot_pml4 + 511 * 8

    mov $0x80000001, %eax           // long mode and NX, or nothing
    cpuid
    test $(1 << 29), %edx
    jz dead
    test $(1 << 20), %edx
    jz dead
    mov %cr4, %eax
    or $(1 << 5), %eax              // PAE
    mov %eax, %cr4
    mov $boot_pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $((1 << 8) | (1 << 11) | 1), %eax // LME, NXE, SCE
    wrmsr
    mov %cr0, %eax
    or $0x80010001, %eax            // PG, WP, PE
    mov %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $8, $long_mode
dead:
    // No way to go on and no console yet: say so on COM1, as far as it works without set-up.
    mov $dead_text, %esi
3:  lodsb
    test %al, %al
    jz 4f
    mov $0x3f8, %dx
    outb %al, %dx
    jmp 3b
4:  hlt
    jmp 4b

    .code64
long_mode:
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    mov %ebp, %edi                  // which protocol
    mov %esi, %esi                  // info, zero extended
    movabs $kernel_start_high, %rax
    jmp *%rax

    .section .boot.data, "aw"
    .balign 8
    .global boot_gdt_pointer
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .short 23
    .quad boot_gdt
dead_text:
    .asciz "tessera: needs a 64-bit processor with NX, and a multiboot2 or PVH loader\r\n"

    .section .boot.bss, "aw", @nobits
    .balign 4096
    .global boot_pml4
boot_pml4:      .skip 4096
boot_pdpt:      .skip 4096
boot_pdpt_high: .skip 4096
boot_pd:        .skip 4 * 4096
boot_stack:     .skip 4096
boot_stack_top:

    .section .text, "ax"
    .code64
kernel_start_high:
    lea initial_stack_top(%rip), %rsp
    // The first CPU's record becomes %gs before any C++ runs: stack protector and cpu_id() use it.
    lea boot_cpu_area(%rip), %rax
    mov %rax, %rdx
    shr $32, %rdx
    mov $0xc0000101, %ecx           // GS_BASE
    wrmsr
    xor %ebp, %ebp
    call kernel_start               // (protocol, physical address of info)
    ud2

    .section .bss, "aw", @nobits
    .balign 4096
    .global initial_stack_bottom
initial_stack_bottom: .skip 32768
    .global initial_stack_top
initial_stack_top:

    .section .note.GNU-stack, "", @progbits
