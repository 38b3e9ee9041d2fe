// KMap: shows frames beyond the direct map, a few at a time on each CPU.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>

#include "mm/physical/frames.hpp"
#include "mm/virtual/entry.hpp"

namespace memory {

// Each CPU has FrameWindows::kMost pages at kernel_space::kWindows, which no other CPU uses: so a page needs to be forgotten
// on this CPU only, and preemption is off while one is in use. Interrupt handlers may open and close too. The table of
// these pages is BootMap's; `mappings` of its Frame counts those in use.
class KMap final : public FrameWindows {
 public:
  // The table is in the direct map.
  KMap(const FrameTable& frames, PageRoot root);

  std::byte* open(FrameNumber number) override;
  void close(std::byte* bytes) override;

 private:
  AtomicEntry* entries_;  // of the whole table
  Frame* table_;
  std::array<std::atomic<std::uint8_t>, config::max_cpus> used_{};  // a bit for each page; its CPU's
};

}  // namespace memory
