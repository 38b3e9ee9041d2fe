// FirmwareView: bounded reads of what the kernel's own map shows of firmware's memory.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "boot/phys_view.hpp"
#include "mm/base/boot_info.hpp"
#include "mm/base/range.hpp"

namespace boot {

// A window with holes. Of physical memory as `view` would show it there are only: the ranges that
// BootInfo::is_firmware names, and below `usable_end` the loader's structures that BootInfo::reserved keeps. Owns
// nothing; view and info must outlive it.
class FirmwareView {
 public:
  FirmwareView(const PhysView& view, const memory::BootInfo& info, PhysAddr usable_end)
      : view_(view), info_(info), usable_end_(usable_end) {}

  // Whether all of [address, address + bytes) is firmware's; it may reach over ranges that touch.
  bool contains(PhysAddr address, std::uint64_t bytes) const;
  // The same, or all of it is the loader's: GRUB copies the root pointer.
  bool contains_root(PhysAddr address, std::uint64_t bytes) const;

  // Precondition: one of the two holds for all of it.
  template <typename Record>
  Record read(PhysAddr address) const {
    return view_.read<Record>(address).take();
  }
  // The sum of all bytes modulo 256. Precondition: as above.
  std::uint8_t sum(PhysAddr address, std::uint64_t bytes) const { return view_.sum(address, bytes); }

 private:
  const PhysView& view_;
  const memory::BootInfo& info_;
  PhysAddr usable_end_;
};

}  // namespace boot
