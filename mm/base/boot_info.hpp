// BootInfo: what a boot loader told us, in one neutral form. boot/ fills it; mm/ and kernel/ read it.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mm/base/config.hpp"
#include "mm/base/range.hpp"
#include "mm/base/types.hpp"

namespace memory {

// By falling usability, as far as loaders know kinds. `held` is usable memory that the command line asked to keep
// out of service: not described, not mapped, not handed out until somebody adds it.
enum class MemoryKind : std::uint8_t { available, acpi_reclaimable, acpi_nvs, bad, reserved, held };

struct MemoryRange {
  PhysRange range;
  MemoryKind kind = MemoryKind::reserved;
  constexpr bool operator==(const MemoryRange&) const = default;
};

// The name is a copy, because the loader's text is mapped only until the kernel loads its own page tables.
struct BootModule {
  PhysRange range;                   // where it lies; may be empty (a module of 0 bytes)
  std::array<char, 64> name_text{};  // its command line, cut with a message where it is longer ...
  std::size_t name_size = 0;         // ... "?" where the loader's pointer led nowhere
  constexpr std::string_view name() const { return {name_text.data(), name_size}; }
};

enum class BootProtocol : std::uint8_t { none, multiboot2, pvh };

// Filled by boot/, then immutable. Holds no pointer into memory that may be handed out: every byte it refers
// to lies in a range that `reserved` names.
struct BootInfo {
  BootProtocol protocol = BootProtocol::none;

  // Sorted by address, merged, not overlapping; where the loader's ranges overlap, the less usable kind wins.
  // Ranges of kind `available` and `held` are whole frames.
  std::array<MemoryRange, config::max_memory_ranges> memory{};
  std::size_t memory_ranges = 0;
  std::size_t memory_ranges_dropped = 0;  // for want of room: their memory is not used
  std::uint64_t bytes_above_limit = 0;    // available, but beyond config::max_memory_gib: not used

  // Whole frames inside available memory that must not be handed out: the kernel image, the loader's
  // structures, modules, frame 0. Sorted, merged.
  std::array<PhysRange, config::max_modules + 8> reserved{};
  std::size_t reserved_ranges = 0;

  std::array<BootModule, config::max_modules> modules{};
  std::size_t module_count = 0;
  std::size_t modules_dropped = 0;  // beyond RAM, over the kernel, or for want of room: each has its message

  std::array<char, config::command_line_bytes> command_line_text{};
  std::size_t command_line_size = 0;
  bool command_line_cut = false;

  PhysAddr rsdp{};  // 0: none was found

  // Whether memory[i] is a place where firmware keeps its tables, which the kernel maps read-only: ACPI's own kinds,
  // and reserved ranges that touch memory. A reserved range that stands alone is a device's, and so is the one that
  // ends at 4 GiB: a flash chip, beside the memory above only by accident.
  constexpr bool is_firmware(std::size_t i) const {
    const MemoryRange& here = memory[i];
    if (here.kind == MemoryKind::acpi_reclaimable || here.kind == MemoryKind::acpi_nvs) return true;
    if (here.kind != MemoryKind::reserved || here.range.end.value == 4_GiB) return false;
    const auto touches = [&](const MemoryRange& other) {
      return other.kind != MemoryKind::bad && other.range.touches(here.range);
    };
    return (i > 0 && touches(memory[i - 1])) || (i + 1 < memory_ranges && touches(memory[i + 1]));
  }

  std::string_view command_line() const { return {command_line_text.data(), command_line_size}; }
};

}  // namespace memory
