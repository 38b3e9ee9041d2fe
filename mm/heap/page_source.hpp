// PageSource: where a heap's pages come from. Declared here, implemented above: kernel ranges, an arena, brk.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/range.hpp"

namespace memory {

// Called with the heap's lock held (Rank::heap), so its own locks lie below that one; it never calls the heap.
// Ranges are whole pages, mapped, readable and writable; no two of them overlap.
class PageSource {
 public:
  // An empty `range` asks for a new range of at least `pages` pages; else for that many, exactly, directly behind
  // `range`, which this source gave. Returns the new range, or `range` made longer; the contents of new pages are
  // undefined. Fails with no_memory; then nothing has changed. Precondition: pages != 0.
  virtual Result<VirtRange> grow(VirtRange range, std::size_t pages) = 0;

  // Takes back up to `pages` pages from the end of `range`, and returns how many: 0 when it cannot part with so few.
  // Never more than was asked. Precondition: 0 < pages <= those of `range`, and nobody uses them.
  virtual std::size_t shrink(VirtRange range, std::size_t pages) = 0;

 protected:
  ~PageSource() = default;  // never owned through this interface
};

}  // namespace memory
