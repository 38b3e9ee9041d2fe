// The change of threads, and the door to it where preemption comes on again.
// SPDX-License-Identifier: MIT

        .section .text, "ax", @progbits

// void switch_threads(std::uint64_t* save, std::uint64_t load): what the ABI lets a function keep is on the stack; the
// rest is dead here. Interrupts are off.
        .globl  switch_threads
        .type   switch_threads, @function
switch_threads:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .size   switch_threads, . - switch_threads

// Where a new thread's first switch returns to.
        .globl  thread_start
        .type   thread_start, @function
thread_start:
        xorl    %ebp, %ebp      // a backtrace ends here
        call    run_thread
        ud2
        .size   thread_start, . - thread_start

// platform::preempt_on() comes here in the middle of any function: every register is kept, the stack is aligned.
        .globl  preempt_door
        .type   preempt_door, @function
preempt_door:
        pushq   %rbp
        movq    %rsp, %rbp
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        cld
        subq    $8, %rsp
        andq    $-16, %rsp
        call    preemption_came_on
        leaq    -72(%rbp), %rsp
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rax
        popq    %rbp
        ret
        .size   preempt_door, . - preempt_door

        .section .note.GNU-stack, "", @progbits
