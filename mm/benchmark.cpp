// Benchmark: the price of reading its clock, and the list of all sets of cases.
// SPDX-License-Identifier: MIT
#include "mm/benchmark.hpp"

#include <algorithm>
#include <array>

namespace memory {

Benchmark::Benchmark(MemoryManager& manager, std::uint64_t (*ticks)(), std::uint64_t rounds)
    : manager_(manager), ticks_(ticks), rounds_(rounds) {
  std::uint64_t least = ~std::uint64_t{0};
  for (unsigned n = 0; n < 8; ++n) {
    const std::uint64_t before = ticks_();
    least = std::min(least, ticks_() - before);
  }
  own_ticks_ = least;
}

std::span<const BenchmarkSet> benchmark_sets() {
  static const std::array kSets{
      BenchmarkSet{"pages", frame_benchmark_cases()},
      BenchmarkSet{"heap", heap_benchmark_cases()},
      BenchmarkSet{"vmalloc", vmalloc_benchmark_cases()},
      BenchmarkSet{"tables", table_benchmark_cases()},
  };
  return kSets;
}

}  // namespace memory
