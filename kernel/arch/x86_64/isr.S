// The 256 doors of the interrupt table: each makes the same TrapFrame (trap.hpp) and calls trap().
// SPDX-License-Identifier: MIT
//
// Two kinds of entry. The normal one may assume that %gs is the kernel's whenever CS says kernel (there is no
// ring 3 yet; the swapgs by CS.RPL comes with it). The paranoid one, for debug, NMI, double fault and machine
// check, may interrupt the very instructions that change %gs, so it looks at GS_BASE itself: the kernel's is
// negative. That test holds only while CR4.FSGSBASE is 0. Reference: Intel SDM volume 3, sections 6.12-6.14.

#define MSR_GS_BASE 0xc0000101

.macro save_registers
  pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rbx
  pushq %rbp
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  cld                     // the ABI wants DF clear; the interrupted code may have it set
.endm

.macro restore_registers
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rbp
  popq %rbx
  popq %rdx
  popq %rcx
  popq %rax
  addq $16, %rsp          // vector and error code
.endm

  .section .text, "ax", @progbits

// The CPU aligned RSP to 16 and pushed five words; error, vector and fifteen registers make 22: RSP is a
// multiple of 16 again at the call, as the ABI wants. %rbp still holds the interrupted frame, so the chain
// for backtraces holds.
  .type normal_entry, @function
normal_entry:
  save_registers
  movq %rsp, %rdi
  call trap
  restore_registers
  iretq
  .size normal_entry, . - normal_entry

  .type paranoid_entry, @function
paranoid_entry:
  save_registers
  movl $MSR_GS_BASE, %ecx
  rdmsr
  xorl %ebx, %ebx         // callee-saved: "swapped" survives the call
  testl %edx, %edx
  js 1f
  swapgs
  incl %ebx
1:
  movq %rsp, %rdi
  call trap
  testl %ebx, %ebx
  jz 2f
  swapgs
2:
  restore_registers
  iretq
  .size paranoid_entry, . - paranoid_entry

// Vectors where the CPU pushes an error code: 8, 10-14, 17, 21, 29, 30.
#define HAS_ERROR(v) (v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30)
#define IS_PARANOID(v) (v == 1 || v == 2 || v == 8 || v == 18)

// Every door is 16 bytes wide, so the table below is arithmetic: isr_doors + 16 * vector.
  .balign 16
  .globl isr_doors
  .type isr_doors, @function
isr_doors:
  .set vector, 0
  .rept 256
  .balign 16
  .if !(HAS_ERROR(vector))
  pushq $0
  .endif
  pushq $vector
  .if IS_PARANOID(vector)
  jmp paranoid_entry
  .else
  jmp normal_entry
  .endif
  .set vector, vector + 1
  .endr
  .balign 16
  .size isr_doors, . - isr_doors

  .section .note.GNU-stack, "", @progbits
