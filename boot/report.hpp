// BootReport: what was wrong with what a boot loader handed over, as typed notes with one wording each.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "mm/base/format.hpp"
#include "mm/base/result.hpp"

namespace boot {

// Why the machine cannot go on: FATAL(name, wording). In every wording # is the next value in decimal, @ in
// hexadecimal, % as a size and $ as four characters, the first in the lowest byte.
#define BOOT_FATALS(FATAL)                                                                                  \
  FATAL(none, "no error")                                                                                   \
  FATAL(unknown_protocol,                                                                                   \
        "magic number @ belongs to no boot protocol; boot with GRUB's multiboot2 or QEMU's "                \
        "-kernel")                                                                                          \
  FATAL(no_information, "the loader gave no boot information (its address is 0)")                           \
  FATAL(information_unreadable,                                                                             \
        "the boot information at @ lies beyond the first % of memory, which is all "                        \
        "that is mapped")                                                                                   \
  FATAL(information_size, "the boot information at @ says that it is # bytes long, which cannot be")        \
  FATAL(information_outside_ram, "the boot information at @ - @ lies outside the memory that it describes") \
  FATAL(information_over_kernel, "the boot information at @ - @ overlaps the kernel")                       \
  FATAL(tag_too_short, "multiboot2 tag type # at offset # says that it is # bytes long; 8 is the least")    \
  FATAL(tag_past_end,                                                                                       \
        "multiboot2 tag type # at offset # is # bytes long and passes the end of the boot "                 \
        "information")                                                                                      \
  FATAL(no_end_tag, "the multiboot2 information of # bytes has no end tag")                                 \
  FATAL(map_too_short, "the multiboot2 memory map at offset # is # bytes long, too short for its header")   \
  FATAL(map_entry_size, "the multiboot2 memory map at offset # has entries of # bytes; 24 is the least")    \
  FATAL(no_memory_map, "the loader gave no memory map")                                                     \
  FATAL(bad_magic, "the PVH start information at @ begins with @, not with 0x336ec578")                     \
  FATAL(no_map_in_version, "the PVH start information at @ has version #, which has no memory map")         \
  FATAL(map_unreadable,                                                                                     \
        "the PVH memory map at @ with # entries lies beyond the first % of memory, which is "               \
        "all that is mapped")                                                                               \
  FATAL(no_usable_memory, "the memory map names no usable memory")                                          \
  FATAL(machine_too_small,                                                                                  \
        "the machine is too small: the kernel image at @ - @ does not lie in usable memory")                \
  FATAL(too_scattered, "the loader's data lies scattered over more than # ranges of memory")

// What was ignored, refused or cut, and the boot goes on: REMARK(name, wording).
#define BOOT_REMARKS(REMARK)                                                                                 \
  REMARK(range_empty, "memory map: # entries of no length ignored")                                          \
  REMARK(range_clipped, "memory map: # entries pass the end of the physical address space and were clipped") \
  REMARK(map_coarsened, "memory map: too fragmented; # pieces of usable memory were given up")               \
  REMARK(ranges_dropped, "memory map: # ranges did not fit in the table of #; their memory is not used")     \
  REMARK(above_limit, "memory map: % of usable memory above # GiB is not used (max_memory_gib)")             \
  REMARK(map_tail, "memory map: # bytes after its last whole entry ignored")                                 \
  REMARK(map_repeated, "memory map: # maps were given; all of them count")                                   \
  REMARK(module_malformed, "module #: its tag of # bytes is too short; not used")                            \
  REMARK(module_backwards, "module #: ends at @, before its start @; not used")                              \
  REMARK(module_outside_ram, "module #: @ + % does not lie in usable memory; not used")                      \
  REMARK(module_over_kernel, "module #: @ - @ overlaps the kernel; not used")                                \
  REMARK(modules_dropped, "# modules did not fit in the table of #; not used")                               \
  REMARK(module_list_unreadable, "the list of # modules at @ cannot be read; none is used")                  \
  REMARK(module_name_unreadable, "module #: its name at @ cannot be read; shown as ?")                       \
  REMARK(module_name_open, "module #: its name has no terminating zero")                                     \
  REMARK(module_name_cut, "module #: its name was cut to # characters")                                      \
  REMARK(command_line_cut, "the kernel command line was cut to # characters")                                \
  REMARK(command_line_open, "the kernel command line has no terminating zero")                               \
  REMARK(command_line_repeated, "more than one kernel command line; the first one counts")                   \
  REMARK(command_line_unreadable, "the kernel command line at @ cannot be read; no command line")            \
  REMARK(rsdp_malformed, "the ACPI root pointer at @ is not one; ignored")                                   \
  REMARK(acpi_rsdp_unreadable, "the ACPI root pointer at @ lies where nothing is mapped; no ACPI")           \
  REMARK(acpi_rsdp_checksum, "the ACPI root pointer at @ has a wrong checksum; no ACPI")                     \
  REMARK(acpi_rsdp_length,                                                                                   \
         "the ACPI root pointer at @ says that it is # bytes long, which cannot be; no ACPI")                \
  REMARK(acpi_no_list, "the ACPI root pointer at @ leads to no usable list of tables; no ACPI")              \
  REMARK(acpi_unreadable, "the ACPI table at @ does not lie where firmware keeps tables; skipped")           \
  REMARK(acpi_signature, "the ACPI table at @ has no signature; skipped")                                    \
  REMARK(acpi_not_a_list, "the list of ACPI tables at @ has the signature $; skipped")                       \
  REMARK(acpi_length, "the ACPI table $ at @ says that it is # bytes long, which cannot be; skipped")        \
  REMARK(acpi_checksum, "the ACPI table $ at @ has a wrong checksum; skipped")                               \
  REMARK(acpi_list_tail, "the list of ACPI tables at @: # bytes after its last whole entry ignored")         \
  REMARK(acpi_list_cut, "the list of ACPI tables at @ has # entries; only # are looked at")                  \
  REMARK(acpi_tables_dropped, "# ACPI tables did not fit in the table of #; not used")                       \
  REMARK(madt_short, "the ACPI table 'APIC' at @ is # bytes long, too short for its head; one CPU is used")  \
  REMARK(                                                                                                    \
      madt_entry,                                                                                            \
      "the ACPI table 'APIC': its entry of type # at offset # says that it is # bytes long, which cannot "   \
      "be; one CPU is used")                                                                                 \
  REMARK(madt_tail, "the ACPI table 'APIC' at @ ends with half an entry of # bytes; one CPU is used")        \
  REMARK(madt_cut, "the ACPI table 'APIC' at @ has more than # entries; the others are not looked at")       \
  REMARK(madt_cpu_repeated, "the ACPI table 'APIC' names the CPU with APIC number # twice; once counts")     \
  REMARK(madt_dropped, "the ACPI table 'APIC': # I/O APICs and overrides did not fit in their tables")       \
  REMARK(madt_cpus_left, "# CPUs are left alone: the kernel has room for # (max_cpus)")                      \
  REMARK(madt_cpus_unreachable, "# CPUs are left alone: only an x2APIC could reach them")

enum class Fatal : std::uint8_t {
#define FATAL(name, wording) name,
  BOOT_FATALS(FATAL)
#undef FATAL
};

enum class Remark : std::uint8_t {
#define REMARK(name, wording) name,
  BOOT_REMARKS(REMARK)
#undef REMARK
};

using NoteValues = std::array<std::uint64_t, 3>;

struct Note {
  Remark remark{};
  NoteValues values{};
};

// Kept in order, up to kNotes; more are only counted. Copies values, refers to nothing.
class BootReport {
 public:
  static constexpr std::size_t kNotes = 32;

  void note(Remark remark, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0);
  // Always Error::invalid, so that a parser says `return report.fatal(...)`. The first one stays.
  memory::Error fatal(Fatal reason, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0);

  Fatal failure() const { return failure_; }
  std::size_t notes() const { return notes_; }
  std::size_t notes_lost() const { return notes_lost_; }
  const Note& operator[](std::size_t i) const { return note_[i]; }  // i < notes()
  bool has(Remark remark) const;

  // One clause without a full stop or a line end.
  void describe_failure(memory::Writer& out) const;
  static void describe(memory::Writer& out, const Note& note);

 private:
  std::array<Note, kNotes> note_{};
  std::size_t notes_ = 0;
  std::size_t notes_lost_ = 0;
  Fatal failure_ = Fatal::none;
  NoteValues failure_values_{};
};

}  // namespace boot
