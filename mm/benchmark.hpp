// Benchmark: cases that measure what calls of the memory manager cost, the same in the kernel and on the host.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>
#include <string_view>

#include "mm/memory_manager.hpp"

namespace memory {

// What one case took. Ticks are those of the clock that the benchmark was given.
struct Measurement {
  std::uint64_t operations = 0;
  std::uint64_t ticks = 0;
};

// What a case works with. It leaves memory as it was. One user at a time; nobody else allocates meanwhile.
class Benchmark {
 public:
  // `ticks` reads a clock: guest instructions under -icount, the time-stamp counter else. With `rounds` each case does
  // that many of what it repeats, with 0 as many as it thinks right.
  Benchmark(MemoryManager& manager, std::uint64_t (*ticks)(), std::uint64_t rounds = 0);

  MemoryManager& manager() { return manager_; }
  std::uint64_t rounds(std::uint64_t usual) const { return rounds_ == 0 ? usual : rounds_; }

  // Around what is measured, in turns: everything between the two counts. What reading the clock costs is taken off.
  [[gnu::always_inline]] void start() { started_ = ticks_(); }
  [[gnu::always_inline]] void stop(std::uint64_t operations) {
    const std::uint64_t spent = ticks_() - started_;
    spent_.operations += operations;
    spent_.ticks += spent > own_ticks_ ? spent - own_ticks_ : 0;
  }
  const Measurement& spent() const { return spent_; }

 private:
  MemoryManager& manager_;
  std::uint64_t (*ticks_)();
  std::uint64_t rounds_;
  std::uint64_t own_ticks_ = 0;
  std::uint64_t started_ = 0;
  Measurement spent_;
};

// One row of a table, declared where the floor's benchmark is.
struct BenchmarkCase {
  std::string_view name;       // a word
  std::string_view operation;  // what is counted: a pair, a frame
  std::string_view what;       // one clause
  // Fails with no_memory on a machine that is too small or too full.
  Result<void> (*run)(Benchmark& benchmark);
};

struct BenchmarkSet {
  std::string_view name;  // a word
  std::span<const BenchmarkCase> cases;
};

// All there are. A floor adds its own in benchmark.cpp.
std::span<const BenchmarkSet> benchmark_sets();

// -- the floors' cases, by file
std::span<const BenchmarkCase> frame_benchmark_cases();    // frame_benchmark.cpp
std::span<const BenchmarkCase> heap_benchmark_cases();     // heap_benchmark.cpp
std::span<const BenchmarkCase> vmalloc_benchmark_cases();  // vmalloc_benchmark.cpp
std::span<const BenchmarkCase> table_benchmark_cases();    // table_benchmark.cpp

}  // namespace memory
