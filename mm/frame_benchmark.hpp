// The frame allocator's benchmark: how whole it keeps free memory. Its cases are in the table of benchmark.hpp.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/memory_manager.hpp"

namespace memory {

// Free blocks of 2 MiB, and how many the free frames could make.
struct WholeBlocks {
  std::uint64_t free = 0;
  std::uint64_t possible = 0;
};

struct Fragmentation {
  WholeBlocks after_half;
  WholeBlocks after_churn;
};

// Fills memory with single frames and frees a random half: after that (a), and after ten times 1 024 random releases
// and allocations for every thousand frames (b). Leaves memory as it was. Fails with no_memory on a machine without
// room for its table. Nobody else allocates meanwhile.
Result<Fragmentation> measure_fragmentation(MemoryManager& manager, std::uint64_t seed);

}  // namespace memory
