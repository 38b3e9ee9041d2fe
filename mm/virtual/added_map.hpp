// AddedMap: makes the storage behind memory appear that is added while the kernel runs, out of that memory itself.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/physical/physical.hpp"
#include "mm/virtual/map_builder.hpp"

namespace memory {

// Works when no other frame is free: tables and descriptions take the first frames of what is added. Frames that the
// direct map does not show yet, or never will, are reached through kernel_space::kSlot. One call at a time, which
// Physical::add_memory sees to; other CPUs neither use the slot nor map in these windows.
class AddedMap final : public StorageMapper {
 public:
  // `root` is loaded, and BootMap built it.
  AddedMap(const FrameTable& frames, PageRoot root, PageLevel largest)
      : present_(frames), root_(root), largest_(largest) {}

  Result<std::size_t> map(PhysRange memory, PhysAddr direct_end) override;

 private:
  const FrameTable& present_;
  PageRoot root_;
  PageLevel largest_;
};

}  // namespace memory
