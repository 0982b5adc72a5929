// What tests/kernel/user_test.cpp runs in ring 3, position independent. Each entry is 64 bytes after the last.
    .section .rodata, "a"
    .balign 4096
    .global user_code_begin, user_code_end
user_code_begin:
    // 0: two system calls; registers, flags and floating point must survive.
    mov $0x1111, %rbx
    mov $0x2222, %r15
    mov $42, %eax
    movq %rax, %xmm7
    mov $7, %rdi
    syscall
    mov %rax, %rdi                  // the kernel's answer
    movq %xmm7, %rsi
    mov $43, %eax
    syscall
    hlt                             // privileged
    .balign 64
    // 64: spin for ever (preemption, kicks)
1:  inc %rbx
    jmp 1b
    .balign 64
    // 128: touch an unmapped page, then report
    mov 0x5000000, %rbx
    mov %rbx, %rdi
    mov $44, %eax
    syscall
    .balign 64
    // 192: jump into the kernel
    mov $0xffffffff80100000, %rax
    jmp *%rax
    .balign 64
    // 256: divide by zero
    xor %ecx, %ecx
    mov $1, %eax
    xor %edx, %edx
    div %ecx
    .balign 64
    // 320: breakpoint, with AC and DF set, then a system call
    pushfq
    orl $0x40400, (%rsp)
    popfq
    int3
    mov $45, %eax
    syscall
    .balign 64
    // 384: fs-relative load
    mov %fs:0, %rdi
    mov $46, %eax
    syscall
    .balign 64
    // 448: count in xmm0 for ever (floating-point state across threads)
2:  movq %xmm0, %rbx
    inc %rbx
    movq %rbx, %xmm0
    mov $47, %eax
    movq %xmm0, %rdi
    syscall
    jmp 2b
    .balign 64
    // 512: read a word for ever
3:  mov 0x600000, %rbx
    jmp 3b
    .balign 64
    // 576: touch a page after the other, upward from rbx
4:  mov (%rbx), %rax
    add $4096, %rbx
    jmp 4b
    .balign 64
user_code_end:
    .section .note.GNU-stack, "", @progbits
