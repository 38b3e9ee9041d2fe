// Builder: fills a BootInfo from what a protocol's parser finds, and checks it against the memory map.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "boot/memory_map.hpp"
#include "boot/phys_view.hpp"
#include "boot/report.hpp"
#include "mm/base/boot_info.hpp"

namespace boot {

// Used once, in this order: add_memory() ... finish_memory(), then the rest in any order, then finish().
// Owns nothing: the caller keeps all five objects alive, and none of them on a small stack. Starts by making
// `map`, `info` and `report` as new. When a Result fails, `report` says why and `info` is of no use.
class Builder {
 public:
  // `kernel` is where the image lies, in whole frames.
  Builder(const PhysView& view, PhysRange kernel, MemoryMap& map, BootInfo& info, BootReport& report);

  const PhysView& view() const { return view_; }
  BootInfo& info() { return info_; }
  BootReport& report() { return report_; }

  void add_memory(PhysAddr base, std::uint64_t length, MemoryKind kind) { map_.add(base, length, kind); }
  // Makes the map, and reserves frame 0 and the kernel. Fails when no memory is usable, or when the kernel
  // does not lie in usable memory.
  Result<void> finish_memory();

  // A structure of the loader's: must be memory by the map and not the kernel's, and is reserved. Fails
  // otherwise.
  Result<void> keep(PhysRange structure);

  // Cut where BootInfo has no more room, if it can be in front of a word. Only the first call counts.
  void set_command_line(std::string_view text);
  // The text at a physical address that the loader gave; 0 means none. Reserves it.
  Result<void> set_command_line_at(PhysAddr address);

  // `number` is the loader's, for messages. Not usable: noted, counted, and no failure.
  Result<void> add_module(std::size_t number, PhysAddr first, std::uint64_t bytes, std::string_view name);
  // Counts modules that are not used. The caller notes why.
  void drop_modules(std::size_t count) { info_.modules_dropped += count; }
  // The name at a physical address that the loader gave: "" for 0, "?" where nothing can be read.
  std::string_view module_name_at(std::size_t number, PhysAddr address);

  // The first one that looks like an RSDP counts. One outside the view is taken as it is.
  void set_rsdp(PhysAddr address);

  // What can only be said at the end.
  void finish();

 private:
  bool readable_text(PhysAddr address, std::uint64_t limit, std::string_view& text) const;

  const PhysView& view_;
  PhysRange kernel_;
  MemoryMap& map_;
  BootInfo& info_;
  BootReport& report_;
  bool has_command_line_ = false;
  std::size_t modules_without_room_ = 0;
};

}  // namespace boot
