// The interrupt table until C++ has built its own: an exception says what it was on COM1 and leaves.
// SPDX-License-Identifier: MIT
//
// entry.S calls load_early_idt in 64-bit mode at its final address, with any valid stack, before the first
// C++ line. Nothing here needs memory beyond that stack. No text goes to COM2: nobody has found out yet
// whether it exists.

#define COM1 0x3f8
#define LINE_STATUS 5
#define TRANSMIT_EMPTY 0x20
#define DEBUG_EXIT 0xf4
#define EXIT_PANIC 0x11

  .section .text, "ax", @progbits

// Clobbers rax, rcx, rdx, rdi, rsi.
  .globl load_early_idt
  .type load_early_idt, @function
load_early_idt:
  leaq early_doors(%rip), %rax
  leaq early_idt(%rip), %rdi
  movl $32, %ecx
  movl %cs, %esi          // whatever code segment entry.S runs in
1:
  // A gate: offset 15:0, selector, IST 0, type 0xe (interrupt) present, offset 31:16, offset 63:32, 0.
  movw %ax, (%rdi)
  movw %si, 2(%rdi)
  movw $0x8e00, 4(%rdi)
  movq %rax, %rdx
  shrq $16, %rdx
  movw %dx, 6(%rdi)
  shrq $16, %rdx
  movl %edx, 8(%rdi)
  movl $0, 12(%rdi)
  addq $16, %rax
  addq $16, %rdi
  decl %ecx
  jnz 1b
  lidt early_idt_pointer(%rip)
  ret
  .size load_early_idt, . - load_early_idt

#define HAS_ERROR(v) (v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30)

  .balign 16
  .type early_doors, @function
early_doors:
  .set vector, 0
  .rept 32
  .balign 16
  .if !(HAS_ERROR(vector))
  pushq $0
  .endif
  pushq $vector
  jmp early_exception
  .set vector, vector + 1
  .endr
  .size early_doors, . - early_doors

// Stack: vector, error, rip, cs, rflags, rsp, ss.
  .type early_exception, @function
early_exception:
  cld
  leaq text_vector(%rip), %rsi
  call early_text
  movq 0(%rsp), %rax
  call early_hex
  leaq text_error(%rip), %rsi
  call early_text
  movq 8(%rsp), %rax
  call early_hex
  leaq text_rip(%rip), %rsi
  call early_text
  movq 16(%rsp), %rax
  call early_hex
  leaq text_rsp(%rip), %rsi
  call early_text
  movq 40(%rsp), %rax
  call early_hex
  leaq text_cr2(%rip), %rsi
  call early_text
  movq %cr2, %rax
  call early_hex
  leaq text_end(%rip), %rsi
  call early_text
  movl $EXIT_PANIC, %eax
  outb %al, $DEBUG_EXIT
1:
  cli
  hlt
  jmp 1b
  .size early_exception, . - early_exception

// rsi: NUL-terminated text.
early_text:
  movb (%rsi), %al
  testb %al, %al
  jz 1f
  call early_byte
  incq %rsi
  jmp early_text
1:
  ret

// rax: the number, printed as 16 digits.
early_hex:
  movq %rax, %rdi
  movl $16, %ecx
1:
  rolq $4, %rdi
  movl %edi, %eax
  andl $15, %eax
  addl $'0', %eax
  cmpl $'9', %eax
  jbe 2f
  addl $('a' - '0' - 10), %eax
2:
  call early_byte
  decl %ecx
  jnz 1b
  ret

// al: one byte for COM1, after a bounded wait for room: an absent port must not hang the message.
early_byte:
  movb %al, %r9b
  movl $1000000, %r8d
  movw $(COM1 + LINE_STATUS), %dx
1:
  inb %dx, %al
  testb $TRANSMIT_EMPTY, %al
  jnz 2f
  decl %r8d
  jnz 1b
2:
  movb %r9b, %al
  movw $COM1, %dx
  outb %al, %dx
  ret

  .section .rodata, "a", @progbits
text_vector: .asciz "\r\npanic: exception before the kernel's own interrupt table: vector 0x"
text_error:  .asciz "\r\n  error 0x"
text_rip:    .asciz "\r\n  rip   0x"
text_rsp:    .asciz "\r\n  rsp   0x"
text_cr2:    .asciz "\r\n  cr2   0x"
text_end:    .asciz "\r\n"

  .balign 8
early_idt_pointer:
  .word 32 * 16 - 1
  .quad early_idt

  .section .bss, "aw", @nobits
  .balign 16
early_idt:
  .skip 32 * 16

  .section .note.GNU-stack, "", @progbits
