// probe.hpp: the two instructions that may fault, and where they go on when they do.
// SPDX-License-Identifier: MIT

        .section .text, "ax", @progbits
        .globl  probe_read, probe_write, probe_fault

        .type   probe_read, @function
probe_read:
        movq    (%rdi), %rax            // may fault: the function's first instruction
        movq    %rax, (%rsi)
        movl    $1, %eax
        ret
        .size   probe_read, . - probe_read

        .type   probe_write, @function
probe_write:
        movq    %rsi, (%rdi)            // may fault: the function's first instruction
        movl    $1, %eax
        ret
        .size   probe_write, . - probe_write

        .type   probe_fault, @function
probe_fault:
        xorl    %eax, %eax
        ret
        .size   probe_fault, . - probe_fault

        .section .note.GNU-stack, "", @progbits
