// FrameSource: pages for a heap straight from the frames, in blocks as they are.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/heap/page_source.hpp"
#include "mm/physical/physical.hpp"

namespace memory {

// A range is one block of frames in the direct map, so it has a power of two of pages, 2^config::max_order at most, does
// not grow, and goes back whole. For heaps that have no range of virtual memory of their own. As free of locks as
// Physical is.
class FrameSource final : public PageSource {
 public:
  explicit FrameSource(Physical& physical) : physical_(physical) {}

  Result<VirtRange> grow(VirtRange range, std::size_t pages) override;
  std::size_t shrink(VirtRange range, std::size_t pages) override;

 private:
  Physical& physical_;
};

}  // namespace memory
