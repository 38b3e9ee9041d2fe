// MapBuilder: adds mappings to the kernel's page tables; at boot, and when memory is added. It maps only.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/range.hpp"
#include "mm/base/result.hpp"
#include "mm/virtual/entry.hpp"

namespace memory {

// Where tables come from, and how they are reached.
class TableFrames {
 public:
  // A cleared frame, for a table or for what a window shows. Fails with no_memory.
  virtual Result<PhysAddr> fresh() = 0;
  // The table in that frame; good until the next call of either.
  virtual PageTable& open(PhysAddr table) = 0;

 protected:
  ~TableFrames() = default;
};

// Owns nothing: the frames belong to `frames`. One at a time on a root; new translations need no flush, because absent
// ones are not remembered (Intel SDM volume 3, section 4.10.2.3).
class MapBuilder {
 public:
  // `largest`: the largest page that this CPU maps with (two_mib, or one_gib where CPUID has it).
  MapBuilder(TableFrames& frames, PageRoot root, PageLevel largest)
      : frames_(frames), root_(root), largest_(largest) {}

  // Maps [at, at + bytes) to [to, to + bytes) with the largest pages that fit. All whole pages. Fails with
  // exists where something is mapped already, no_memory when a table cannot be had; both leave a part mapped.
  Result<void> map(VirtAddr at, PhysAddr to, std::uint64_t bytes, Access access);

  // Maps fresh, cleared frames, writable. Pages that are mapped already stay as they are.
  Result<void> back(VirtAddr at, std::uint64_t bytes);

  // Makes the tables down to the last level exist for that page, and maps nothing.
  Result<void> prepare(VirtAddr page);

  // The part of the direct map below `direct_end` for that memory.
  Result<void> map_directly(PhysRange memory, PhysAddr direct_end, Access access = Access::read_write);

  // The parts of the frame array and of the pageblocks that describe that memory.
  Result<void> back_descriptions(PhysRange memory);

  // At least as many frames as the last two take together for that memory.
  static std::uint64_t most_frames_for(PhysRange memory);

  // The last-level entry of a page whose tables exist; good until the next call.
  PageEntry& entry(VirtAddr page);

 private:
  Result<PageEntry*> entry_for(VirtAddr at, PageLevel level);
  PageLevel level_for(VirtAddr at, PhysAddr to, std::uint64_t bytes) const;

  TableFrames& frames_;
  PageRoot root_;
  PageLevel largest_;
};

}  // namespace memory
