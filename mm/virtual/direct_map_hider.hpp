// DirectMapHider: freed frames leave the direct map, so that a use of one faults at the guilty line.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/physical/physical.hpp"
#include "mm/virtual/entry.hpp"

namespace memory {

// Over the kernel's tree, whose direct map is of 4 KiB pages. A table's count of live entries follows. Takes no lock: the
// entry of a frame changes by who has the frame, and nobody else changes these tables, but for memory that is added, when
// they are counted anew: nobody may allocate or release meanwhile.
//
// Other CPUs are not told (a release may come with interrupts off): what one still remembers it may still use, so a wrong
// use can go unseen there until the frame is handed out again. The poison is for that.
class DirectMapHider final : public FrameHider {
 public:
  // `frames` outlives this.
  DirectMapHider(const FrameTable& frames, PageRoot root) : frames_(frames), root_(root) {}

  void hide(FrameNumber first, Order order) override;
  void show(FrameNumber first, Order order) override;

 private:
  template <typename Body>
  std::uint32_t for_each_entry(FrameNumber first, Order order, Body&& body) const;

  const FrameTable& frames_;
  const PageRoot root_;
};

}  // namespace memory
