// KernelAddresses: what stands on one window of the kernel's addresses, put together.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/virtual/kernel_space.hpp"
#include "mm/virtual/kernel_stack.hpp"
#include "mm/virtual/range_cache.hpp"

namespace memory {

class KernelAddresses {
 public:
  // `heap` and `tables` outlive it. Nothing else maps in `window`.
  KernelAddresses(Heap& heap, PageTables& tables,
                  VirtRange window = {kernel_space::kVmalloc, kernel_space::kVmallocEnd})
      : records_(heap), ranges_(window, records_), vmalloc_(tables, ranges_), stacks_(vmalloc_) {}

  KernelRanges& ranges() { return ranges_; }
  const KernelRanges& ranges() const { return ranges_; }
  Vmalloc& vmalloc() { return vmalloc_; }
  const Vmalloc& vmalloc() const { return vmalloc_; }
  KernelStacks& stacks() { return stacks_; }

  bool valid() const { return ranges_.valid() && vmalloc_.tables().valid(); }

 private:
  RangeCache records_;
  KernelRanges ranges_;
  Vmalloc vmalloc_;
  KernelStacks stacks_;
};

}  // namespace memory
