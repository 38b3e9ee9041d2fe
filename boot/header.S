// What boot loaders look for in the image: a multiboot2 header for GRUB and a PVH note for `-kernel`.
// SPDX-License-Identifier: MIT
//
// There is no multiboot1 header, and there must never be one: QEMU would take its multiboot1 path, which
// refuses an ELF64.

#define kKernelBase 0xffffffff80000000
#define kHeaderMagic 0xe85250d6
#define kArchitectureI386 0             // entered in 32-bit protected mode
#define kTagEnd 0
#define kTagInformationRequest 1
#define kTagEntryAddress 3
#define kTagModuleAlign 6
#define kRequired 0
#define kOptional 1

// Multiboot2 Specification version 2.0, section 3.1. Each tag starts at a multiple of 8 bytes.
        .section .boot.header, "a", @progbits
        .balign 8
header:
        .long   kHeaderMagic
        .long   kArchitectureI386
        .long   .Lheader_end - header
        .long   -(kHeaderMagic + kArchitectureI386 + (.Lheader_end - header))

        // "Information request": the loader must know how to give a memory map (information tag 6) ...
        .balign 8
.Lrequest:
        .short  kTagInformationRequest, kRequired
        .long   .Lrequest_end - .Lrequest
        .long   6
.Lrequest_end:

        // ... and had better give the RSDP (14 old, 15 new) where the machine has one.
        .balign 8
.Lwish:
        .short  kTagInformationRequest, kOptional
        .long   .Lwish_end - .Lwish
        .long   14, 15
.Lwish_end:

        // "Entry address": physical, whatever e_entry says.
        .balign 8
        .short  kTagEntryAddress, kRequired
        .long   12
        .long   entry_multiboot2 - kKernelBase

        // "Module alignment": modules start at a frame.
        .balign 8
        .short  kTagModuleAlign, kRequired
        .long   8

        .balign 8
        .short  kTagEnd, kRequired
        .long   8
.Lheader_end:

// Xen public/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY, the 32-bit physical entry point.
        .section .note.Xen, "a", @note
        .balign 4
        .long   4                               // bytes of the name
        .long   4                               // bytes of the value
        .long   18                              // XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   entry_pvh - kKernelBase

        .section .note.GNU-stack, "", @progbits
