// Which block of a kernel heap an address lies in, for those who only look.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/heap/block_heap.hpp"

namespace memory {

struct FoundBlock {
  std::uint64_t payload;  // what malloc() returned
  std::uint64_t bytes;    // that its owner may use
  HeapKey::Kind kind;
};

// Walks the range of `address` from its first block on. Fails with not_found when it lies in no block, or behind a
// header that is none. Takes no lock and believes nothing that does not decode: exact while memory stands still.
Result<FoundBlock> block_around(const HeapState& state, VirtAddr address);

}  // namespace memory
