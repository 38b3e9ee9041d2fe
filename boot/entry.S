// From the loader's 32-bit protected mode to C++ in the higher half: kmain(magic, info).
// SPDX-License-Identifier: MIT
//
// Both protocols arrive the same way: 32-bit protected mode, flat segments, paging and interrupts off, the
// physical address of the information structure in ebx (Multiboot2 Specification version 2.0, section 3.3
// "I386 machine state"; Xen docs/misc/pvh.pandoc). No stack may be assumed.
//
// COM1 gets one letter per stage, so that a machine which dies here says how far it came:
//
//   M or P   entered by a multiboot2 loader, or by PVH
//   C        the CPU has long mode and no-execute pages
//   T        the boot page tables stand
//   L        long mode, in the identity map
//   H        in the higher half, on the boot stack
//   I        GS points at the boot CPU's PerCpu and an IDT is loaded; the next instruction is C++
//
// What makes going on impossible is one line on COM1, "boot error N: ...", and exit 0x12 by isa-debug-exit.
//
// State on entry to kmain: rdi = protocol magic, rsi = physical address of the information structure, rbp =
// 0, interrupts off, CS 0x08 and DS/ES/SS 0x10 of boot_gdt, FS and GS null, GS base = boot_percpu.
// CR0 = PE EM ET NE WP PG, CR4 = PAE, and LA57 where the CPU has five levels and no word la57=off is given; EFER = LME LMA NXE: SSE and x87 instructions trap.
// The first GiB is mapped at 0 and at -2 GiB by 2 MiB pages, all of it writable and executable, until the
// kernel loads its own tables. Nothing of what this file leaves behind (GDT, stack, GS base) needs the map at
// 0.

#include "config_values.h"

#define kKernelBase 0xffffffff80000000
#define kMultiboot2Magic 0x36d76289     // Multiboot2 section 3.3: eax on entry
#define kPvhMagic 0x336ec578            // Xen public/arch-x86/hvm/start_info.h

#define kPageSize 4096
#define kStackBytes (CONFIG_kernel_stack_kib * 1024)
#define kTable 0x003                    // present, writable
#define kLargePage 0x083                // present, writable, 2 MiB

#define kCodeSelector 0x08
#define kDataSelector 0x10
#define kEferMsr 0xc0000080
#define kGsBaseMsr 0xc0000101
#define kEfer 0x900                     // LME, NXE
#define kCr4 0x20                       // PAE
#define kCr4FiveLevels 0x1000           // LA57: can change only while paging is off
#define kPvhCommandLine 24              // struct hvm_start_info: cmdline_paddr
#define kMostScanned 65536              // bytes of boot information or of a command line
#define kCr0 0x80010035                 // PE, EM, ET, NE, WP, PG

#define kFirmwareBytes (512 * 1024)
#define kFirmwareKeeps (192 * 1024)

#define kCom1 0x3f8
#define kDebugExit 0xf4
#define kExitUnusable 0x12              // docs/formats.md, section 3

#define PHYSICAL(symbol) (symbol - kKernelBase)

// Prints one letter. Needs no stack: put_char returns to edi. Clobbers eax, ecx, edx, edi.
.macro STAGE letter
        mov     $\letter, %ah
        mov     $PHYSICAL(.Lstage_\@), %edi
        jmp     put_char
.Lstage_\@:
.endm

.macro FAIL_UNLESS condition, message
        j\condition .Lpassed_\@
        mov     $PHYSICAL(\message), %esi
        jmp     fail
.Lpassed_\@:
.endm

// Fails unless there is memory at edi. Leaves there what it found: it may belong to anybody.
.macro PROBE message
        mov     (%edi), %eax
        movl    $0x5aa5c33c, (%edi)
        wbinvd                          // a cache would answer for memory that is not there
        cmpl    $0x5aa5c33c, (%edi)
        mov     %eax, (%edi)
        FAIL_UNLESS e, \message
.endm

// out %al to COM1 register `index`.
.macro SERIAL index, value
        mov     $(kCom1 + \index), %dx
        mov     $\value, %al
        out     %al, %dx
.endm

        .section .boot.text, "ax", @progbits
        .code32

        .globl  entry_pvh
        .type   entry_pvh, @function
entry_pvh:
        mov     $kPvhMagic, %eax        // eax is undefined; the structure's magic is the parser's to check
        .size   entry_pvh, . - entry_pvh

        .globl  entry_multiboot2
        .type   entry_multiboot2, @function
entry_multiboot2:
        cli
        cld
        mov     %eax, %ebp              // ebp: protocol, until the end
        mov     %ebx, %esi              // esi: information structure, until the end

        // 115200 8N1, no interrupts (PC16550D data sheet, section 8). The FIFOs stay as they are: switching
        // them empties them, and the first byte of piped input waits there for SerialPort::start().
        SERIAL  1, 0x00
        SERIAL  3, 0x80
        SERIAL  0, 0x01
        SERIAL  1, 0x00
        SERIAL  3, 0x03
        SERIAL  4, 0x03

        cmp     $kMultiboot2Magic, %ebp
        je      .Lfrom_multiboot2
        cmp     $kPvhMagic, %ebp
        FAIL_UNLESS e, error_magic
        STAGE   'P'
        jmp     .Lfrom_either
.Lfrom_multiboot2:
        STAGE   'M'
.Lfrom_either:
        test    %esi, %esi
        FAIL_UNLESS nz, error_information

        // The loader may have put the tail of the image where no memory is. The memory map will tell for
        // sure, but reading it takes the stack, which may be in that tail: so try whether there is memory.
        // And with -kernel the image is in place before the firmware runs, which works downwards from the end
        // of memory without looking (SeaBIOS takes some 300 KiB and gives half of that back): there must be
        // enough above what the file has put there.
        mov     $(PHYSICAL(kernel_image_end) + kFirmwareKeeps - 4), %edi
        PROBE   error_memory
        mov     $(PHYSICAL(bss_start) + kFirmwareBytes - 4), %edi
        PROBE   error_memory

        // For the same reason .bss may not be clear, where the page tables below must find zeroes.
        mov     $PHYSICAL(bss_start), %edi
        mov     $PHYSICAL(kernel_image_end), %ecx
        sub     %edi, %ecx
        shr     $2, %ecx
        xor     %eax, %eax
        rep stosl
        mov     $PHYSICAL(boot_stack_top), %esp

        // Intel SDM volume 1, section 20.1: CPUID exists where EFLAGS.ID can be changed.
        pushf
        pop     %eax
        mov     %eax, %ecx
        xor     $0x200000, %eax
        push    %eax
        popf
        pushf
        pop     %eax
        cmp     %ecx, %eax
        FAIL_UNLESS ne, error_long_mode

        mov     $0x80000000, %eax
        cpuid
        cmp     $0x80000001, %eax
        FAIL_UNLESS ae, error_long_mode
        mov     $0x80000001, %eax
        cpuid
        mov     %edx, %ebx
        test    $(1 << 29), %ebx
        FAIL_UNLESS nz, error_long_mode
        test    $(1 << 20), %ebx
        FAIL_UNLESS nz, error_no_execute
        STAGE   'C'

        // One page directory of 2 MiB pages serves both halves (Intel SDM volume 3, section 4.5).
        mov     $PHYSICAL(boot_directory), %edi
        mov     $kLargePage, %eax
        mov     $512, %ecx
.Lnext_page:
        mov     %eax, (%edi)
        movl    $0, 4(%edi)
        add     $8, %edi
        add     $0x200000, %eax
        dec     %ecx
        jnz     .Lnext_page
        movl    $(PHYSICAL(boot_directory) + kTable), PHYSICAL(boot_pointers_low)
        movl    $(PHYSICAL(boot_directory) + kTable), PHYSICAL(boot_pointers_high + 510 * 8)
        movl    $(PHYSICAL(boot_pointers_low) + kTable), PHYSICAL(boot_root)
        movl    $(PHYSICAL(boot_pointers_high) + kTable), PHYSICAL(boot_root + 511 * 8)
        movl    $PHYSICAL(boot_root), PHYSICAL(boot_top)
        movl    $kCr4, PHYSICAL(boot_cr4)
        call    wants_five_levels
        test    %eax, %eax
        jz      .Lfour_levels
        movl    $(PHYSICAL(boot_root) + kTable), PHYSICAL(boot_root_five)
        movl    $(PHYSICAL(boot_root) + kTable), PHYSICAL(boot_root_five + 511 * 8)
        movl    $PHYSICAL(boot_root_five), PHYSICAL(boot_top)
        movl    $(kCr4 + kCr4FiveLevels), PHYSICAL(boot_cr4)
.Lfour_levels:
        STAGE   'T'

        // Intel SDM volume 3, section 9.8.5: PAE, the root, LME, then paging.
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
        lgdt    PHYSICAL(boot_gdt_pointer_low)
        ljmp    $kCodeSelector, $PHYSICAL(long_mode)
        .size   entry_multiboot2, . - entry_multiboot2

// eax: whether the CPU has five levels (Intel SDM volume 2, CPUID 7, ECX bit 16) and the word la57=off is not among what
// the loader gave. There is no parser yet, so this looks at bytes: at PVH's command line up to its end, at multiboot2's
// whole information, of which the command line is a part. Keeps ebp and esi; the kernel reads the words again (options.cpp).
        .type   wants_five_levels, @function
wants_five_levels:
        xor     %eax, %eax
        cpuid
        cmp     $7, %eax
        jb      .Lno
        mov     $7, %eax
        xor     %ecx, %ecx
        cpuid
        test    $(1 << 16), %ecx
        jz      .Lno
        mov     %esi, %edi              // edi: where it looks; ecx: how many bytes are left
        mov     (%esi), %ecx            // multiboot2: total_size
        cmp     $kMultiboot2Magic, %ebp
        je      .Lbounded
        mov     kPvhCommandLine(%esi), %edi
        cmpl    $0, kPvhCommandLine + 4(%esi)
        jne     .Lyes                   // beyond reach, as for the parser
        mov     $kMostScanned, %ecx
        test    %edi, %edi
        jz      .Lyes
.Lbounded:
        cmp     $kMostScanned, %ecx
        jbe     .Lscan
        mov     $kMostScanned, %ecx
.Lscan:
        mov     $' ', %dl               // the byte before
.Lnext_byte:
        cmp     $9, %ecx
        jb      .Lyes
        mov     (%edi), %al
        test    %al, %al
        jnz     .Linside
        cmp     $kMultiboot2Magic, %ebp
        jne     .Lyes                   // the end of the line
.Linside:
        cmp     $' ', %dl
        ja      .Lnot_here
        cmpl    $0x3735616c, (%edi)     // "la57"
        jne     .Lnot_here
        cmpl    $0x66666f3d, 4(%edi)    // "=off"
        jne     .Lnot_here
        cmpb    $' ', 8(%edi)
        jbe     .Lno
.Lnot_here:
        mov     %al, %dl
        inc     %edi
        dec     %ecx
        jmp     .Lnext_byte
.Lyes:  mov     $1, %eax
        ret
.Lno:   xor     %eax, %eax
        ret
        .size   wants_five_levels, . - wants_five_levels

// Prints ah and returns to edi. Gives up waiting after a while: a machine without COM1 must boot as well.
        .type   put_char, @function
put_char:
        mov     $(kCom1 + 5), %dx
        mov     $0x10000, %ecx
1:      in      %dx, %al
        test    $0x20, %al              // transmitter empty
        jnz     2f
        dec     %ecx
        jnz     1b
2:      mov     $kCom1, %dx
        mov     %ah, %al
        out     %al, %dx
        jmp     *%edi
        .size   put_char, . - put_char

// Prints the text at esi and leaves.
        .type   fail, @function
fail:
        mov     (%esi), %ah
        inc     %esi
        test    %ah, %ah
        jz      1f
        mov     $PHYSICAL(fail), %edi
        jmp     put_char
1:      mov     $kExitUnusable, %al
        mov     $kDebugExit, %dx
        out     %al, %dx
2:      cli
        hlt
        jmp     2b
        .size   fail, . - fail

error_magic:
        .asciz  "\r\nboot error 1: the loader is neither multiboot2 (GRUB) nor PVH (QEMU -kernel)\r\n"
error_information:
        .asciz  "\r\nboot error 2: the loader gave no boot information (its address is 0)\r\n"
error_memory:
        .asciz  "\r\nboot error 3: the machine is too small for the kernel image and the firmware\r\n"
error_long_mode:
        .asciz  "\r\nboot error 4: the CPU has no 64-bit mode; Coronel needs an x86-64\r\n"
error_no_execute:
        .asciz  "\r\nboot error 5: the CPU has no no-execute pages (NX); enable them in the firmware\r\n"

        .code64
        .type   long_mode, @function
long_mode:
        mov     $kDataSelector, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %ebp, %r12d             // zero-extends: the upper halves are undefined after the switch
        mov     %esi, %r13d
        mov     %esp, %esp
        mov     $'L', %ah
        call    put_letter
        movabs  $higher_half, %rax
        jmp     *%rax
        .size   long_mode, . - long_mode

        .text
        .type   higher_half, @function
higher_half:
        .cfi_sections .debug_frame     // for debuggers: nothing called this
        .cfi_startproc
        .cfi_undefined rip
        lgdt    boot_gdt_pointer(%rip)
        mov     $boot_stack_top, %rsp
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        xor     %ebp, %ebp              // a backtrace ends here
        mov     $'H', %ah
        call    put_letter

        mov     $boot_percpu, %rax      // before the IDT: a handler may use %gs
        mov     %rax, %rdx
        shr     $32, %rdx
        mov     $kGsBaseMsr, %ecx
        wrmsr
        call    load_early_idt
        mov     $'I', %ah
        call    put_letter
        mov     $'\r', %ah
        call    put_letter
        mov     $'\n', %ah
        call    put_letter

        mov     %r12d, %edi
        mov     %r13d, %esi
        call    kmain
        ud2
        .cfi_endproc
        .size   higher_half, . - higher_half

// As put_char, with a stack. Clobbers eax, ecx, edx. Its code may run at either address.
        .type   put_letter, @function
put_letter:
        mov     $(kCom1 + 5), %dx
        mov     $0x10000, %ecx
1:      in      %dx, %al
        test    $0x20, %al
        jnz     2f
        dec     %ecx
        jnz     1b
2:      mov     $kCom1, %dx
        mov     %ah, %al
        out     %al, %dx
        ret
        .size   put_letter, . - put_letter

        .section .rodata.boot, "a", @progbits
        .balign 8
        .globl  boot_gdt
        .type   boot_gdt, @object
boot_gdt:                               // accessed bits are set already: the CPU never writes here
        .quad   0
        .quad   0x00af9b000000ffff      // 0x08: 64-bit code, ring 0
        .quad   0x00cf93000000ffff      // 0x10: data, ring 0
boot_gdt_end:
        .size   boot_gdt, . - boot_gdt
        .balign 8
        .short  0, 0, 0
boot_gdt_pointer:
        .short  boot_gdt_end - boot_gdt - 1
        .quad   boot_gdt
        .balign 8
        .short  0
boot_gdt_pointer_low:
        .short  boot_gdt_end - boot_gdt - 1
        .long   PHYSICAL(boot_gdt)

// First in .bss. The guard page is mapped by the boot page tables; the kernel's own leave it out.
//
//   boot_root_five | boot_root | boot_pointers_low | boot_pointers_high | boot_directory | guard | stack        | other bss
//                                                       boot_stack_guard ^      ^ boot_stack    ^
// boot_stack_top
        .section .bss..boot, "aw", @nobits
        .balign kPageSize
        .globl  boot_stack_guard, boot_stack, boot_stack_top
boot_root_five:                         // over the next, where the CPU has five levels
        .skip   kPageSize
boot_root:
        .skip   kPageSize
boot_pointers_low:
        .skip   kPageSize
boot_pointers_high:
        .skip   kPageSize
boot_directory:
        .skip   kPageSize
boot_stack_guard:
        .skip   kPageSize
boot_stack:
        .skip   kStackBytes
boot_stack_top:

// What a further CPU loads first, as this one did.
        .bss
        .balign 4
        .globl  boot_top, boot_cr4
boot_top:
        .skip   4
boot_cr4:
        .skip   4

        .section .note.GNU-stack, "", @progbits
