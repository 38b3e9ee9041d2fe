// FrameBenchmark: what the calls of the frame allocator cost, case by case; the same in the kernel and on the host.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>
#include <string_view>

#include "mm/base/random.hpp"
#include "mm/memory_manager.hpp"

namespace memory {

// What one case took. Ticks are those of the clock that the benchmark was given.
struct Measurement {
  std::uint64_t operations = 0;
  std::uint64_t ticks = 0;
};

// Free blocks of 2 MiB, and how many the free frames could make.
struct WholeBlocks {
  std::uint64_t free = 0;
  std::uint64_t possible = 0;
};

// Works through the face of the manager, as kernel code does. Keeps what it holds in a block of the allocator under
// test. Leaves memory as it was. One user at a time, nobody else allocates meanwhile.
class FrameBenchmark {
 public:
  // `ticks` reads a clock: guest instructions under -icount, the time-stamp counter else.
  FrameBenchmark(MemoryManager& manager, std::uint64_t (*ticks)()) : manager_(manager), ticks_(ticks) {}

  struct Case {
    std::string_view name;
    std::string_view what;  // is one operation
    Result<Measurement> (FrameBenchmark::*run)();
  };
  static std::span<const Case> cases();

  // Fails with no_memory on a machine that is too small or too full.
  Result<Measurement> run(const Case& which) { return (this->*which.run)(); }

  // Fills memory with single frames and frees a random half: after that (a), and after ten times 1 024 random releases
  // and allocations for every thousand frames (b).
  struct Fragmentation {
    WholeBlocks after_half;
    WholeBlocks after_churn;
  };
  Result<Fragmentation> fragmentation(std::uint64_t seed);

 private:
  class Table;

  template <unsigned order>
  Result<Measurement> pairs();
  Result<Measurement> batch_allocations();
  Result<Measurement> batch_releases();
  Result<Measurement> batches(Measurement& allocations, Measurement& releases);
  Result<Measurement> random_half();
  Result<Measurement> mixed_orders();
  WholeBlocks whole_blocks();

  MemoryManager& manager_;
  std::uint64_t (*ticks_)();
};

}  // namespace memory
