// SPDX-License-Identifier: MIT
#include "boot/firmware_view.hpp"

namespace boot {

bool FirmwareView::contains(PhysAddr address, std::uint64_t bytes) const {
  if (bytes == 0 || !view_.contains(address, bytes)) return false;
  PhysAddr known = address;  // all below is there
  for (std::size_t i = 0; i < info_.memory_ranges && known < address + bytes; ++i) {
    if (info_.is_firmware(i) && info_.memory[i].range.contains(known)) known = info_.memory[i].range.end;
  }
  return known >= address + bytes;
}

bool FirmwareView::contains_root(PhysAddr address, std::uint64_t bytes) const {
  if (contains(address, bytes)) return true;
  if (bytes == 0 || !view_.contains(address, bytes)) return false;
  const memory::PhysRange wanted{address, address + bytes};
  for (std::size_t i = 0; i < info_.reserved_ranges; ++i) {
    if (info_.reserved[i].contains(wanted)) return wanted.end <= usable_end_;
  }
  return false;
}

}  // namespace boot
