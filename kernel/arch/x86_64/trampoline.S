// Where a further CPU begins: real mode, in a page below 1 MiB that holds a copy of this (smp.cpp).
// SPDX-License-Identifier: MIT
//
// A start-up message sets CS to the page and IP to 0 (Intel SDM volume 3, section 9.4.4); everything else is as
// after INIT. The way up is that of boot/entry.S: protected mode, the boot page tables, long mode, the higher half.
// The boot page tables show the first GiB at 0 and at -2 GiB; the kernel's own root comes last, because it does not
// show this page.
//
// One CPU is started at a time. It must be the one that was asked for, and takes the ticket, its stack, by an exchange:
// one that comes too late finds none, and sleeps for ever.

#define kKernelBase 0xffffffff80000000
#define kEferMsr 0xc0000080
#define kGsBaseMsr 0xc0000101
#define kEfer 0x900                     // LME, NXE
#define kCr0 0x80010035                 // PE, EM, ET, NE, WP, PG
#define kProtected 0x11                 // PE, ET

#define PHYSICAL(symbol) (symbol - kKernelBase)
#define HERE(label) (label - trampoline_start)

        .section .rodata.trampoline, "a", @progbits
        .balign 16
        .globl  trampoline_start, trampoline_end
        .globl  trampoline_gdt, trampoline_gdt_base, trampoline_far32, trampoline_32, trampoline_far64, trampoline_64
        .code16
trampoline_start:
        cli
        cld
        xor     %ebx, %ebx
        mov     %cs, %bx
        mov     %bx, %ds
        shl     $4, %ebx                // the page's address, from here on
        lgdtl   HERE(trampoline_gdt_pointer)
        mov     $kProtected, %eax
        mov     %eax, %cr0
        ljmpl   *HERE(trampoline_far32)

        .code32
trampoline_32:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     PHYSICAL(boot_cr4), %eax
        mov     %eax, %cr4
        mov     PHYSICAL(boot_top), %eax
        mov     %eax, %cr3
        mov     $kEferMsr, %ecx
        mov     $kEfer, %eax
        xor     %edx, %edx
        wrmsr
        mov     $kCr0, %eax
        mov     %eax, %cr0
        ljmpl   *HERE(trampoline_far64)(%ebx)

        .code64
trampoline_64:
        movabs  $cpu_entry, %rax
        jmp     *%rax

        .balign 8
trampoline_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      // 0x08: 64-bit code, ring 0
        .quad   0x00cf93000000ffff      // 0x10: data, ring 0
        .quad   0x00cf9b000000ffff      // 0x18: 32-bit code, ring 0
trampoline_gdt_end:
        .short  0
trampoline_gdt_pointer:
        .short  trampoline_gdt_end - trampoline_gdt - 1
trampoline_gdt_base:
        .long   0                       // smp.cpp: where trampoline_gdt is
trampoline_far32:
        .long   0                       // smp.cpp: where trampoline_32 is
        .short  0x18
        .short  0
trampoline_far64:
        .long   0                       // smp.cpp: where trampoline_64 is
        .short  0x08
trampoline_end:

        .text
        .type   cpu_entry, @function
cpu_entry:
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        mov     $1, %eax
        cpuid
        shr     $24, %ebx               // this local APIC's number
        cmp     %ebx, cpu_ticket_apic(%rip)
        jne     .Lsleep
        xor     %eax, %eax
        xchg    %rax, cpu_ticket_stack(%rip)
        test    %rax, %rax
        jz      .Lsleep
        mov     %rax, %rsp              // mapped by the kernel's root alone
        mov     cpu_ticket_root(%rip), %rax
        mov     %rax, %cr3
        mov     cpu_ticket_block(%rip), %rax
        mov     %rax, %rdx
        shr     $32, %rdx
        mov     $kGsBaseMsr, %ecx
        wrmsr
        xor     %ebp, %ebp              // a backtrace ends here
        call    further_cpu_main
.Lsleep:
        cli
        hlt
        jmp     .Lsleep
        .size   cpu_entry, . - cpu_entry

        .section .note.GNU-stack, "", @progbits
