// The symbol table of the kernel's first link: none yet (boot/CMakeLists.txt).
    .section .ksyms, "a"
    .balign 8
    .global kernel_symbol_table
kernel_symbol_table:
    .long 0
    .section .note.GNU-stack, "", @progbits
