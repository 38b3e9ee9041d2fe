// The way out of an expected panic: run_catching() remembers where it stands, leave_to() goes back there.
// SPDX-License-Identifier: MIT

  .section .text, "ax", @progbits

// bool run_catching(CatchPoint* point, void (*body)(void*), void* context): false when body returned.
// A CatchPoint is the value of %rsp here; everything else is on the stack above it.
  .globl run_catching
  .type run_catching, @function
run_catching:
  pushq %rbp
  movq %rsp, %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  subq $8, %rsp           // the call below wants %rsp at a multiple of 16
  movq %rsp, (%rdi)
  movq %rdx, %rdi
  call *%rsi
  xorl %eax, %eax
.Lleave:
  addq $8, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size run_catching, . - run_catching

// [[noreturn]] void leave_to(const CatchPoint* point): run_catching returns true.
  .globl leave_to
  .type leave_to, @function
leave_to:
  movq (%rdi), %rsp
  movl $1, %eax
  cld
  jmp .Lleave
  .size leave_to, . - leave_to

  .section .note.GNU-stack, "", @progbits
