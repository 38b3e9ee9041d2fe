// RangeCache: records of kernel ranges out of an object cache.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/heap/object_cache.hpp"
#include "mm/virtual/kernel_range.hpp"

namespace memory {

class RangeCache final : public RangeStorage {
 public:
  // As KmemCache's constructor.
  explicit RangeCache(Heap& heap) : cache_(heap, "kernel_range") {}

  Result<KernelRange*> fresh() override { return cache_.make(); }
  void give_back(KernelRange& range) override { cache_.destroy(&range); }

 private:
  ObjectCache<KernelRange> cache_;
};

}  // namespace memory
