// Where QEMU's direct start enters a test guest: a stack, a GDT of our own, then run().
// SPDX-License-Identifier: MIT
.section .note.pvh, "a", @note
  .long 4, 4, 18  // name bytes, value bytes, XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .long start

.text
.code32
.globl start
start:
  mov $stack_end, %esp
  lgdt gdt_pointer
  ljmp $8, $1f
1:
  mov $16, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  call run
2:
  cli
  hlt
  jmp 2b

// The handler of the non-maskable interrupt, for guests that set one.
.globl nmi_entry
nmi_entry:
  call on_nmi
  iret
.weak on_nmi
on_nmi:
  ret

.section .rodata
.balign 8
gdt:
  .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff  // flat code and data
gdt_pointer:
  .word . - gdt - 1
  .long gdt

.bss
.balign 16
  .skip 16384
stack_end:
.section .note.GNU-stack, "", @progbits
