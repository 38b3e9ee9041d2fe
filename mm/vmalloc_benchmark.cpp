// What kernel addresses cost: pairs of vmalloc and vfree beside a range that stays, as in a kernel that has been up.
// SPDX-License-Identifier: MIT
#include <array>

#include "mm/benchmark.hpp"

namespace memory {

namespace {

constexpr Origin kOrigin{"benchmark"};

// A range that keeps the tables of its neighbours.
class Neighbour {
 public:
  explicit Neighbour(MemoryManager& manager) : manager_(manager), at_(manager.vmalloc(kPageSize, kOrigin)) {}
  ~Neighbour() {
    if (at_.ok()) CHECK(manager_.vfree(at_.take()).ok());
  }
  Neighbour(const Neighbour&) = delete;
  Error error() const { return at_.error(); }

 private:
  MemoryManager& manager_;
  Result<VirtAddr> at_;
};

Result<void> pairs(Benchmark& benchmark, std::uint64_t bytes, std::uint64_t usual) {
  MemoryManager& manager = benchmark.manager();
  if (!manager.has_addresses()) return Error::not_found;
  const Neighbour neighbour(manager);
  TRY(Result<void>(neighbour.error()));
  for (unsigned n = 0; n < 4; ++n) CHECK(manager.vfree(TRY(manager.vmalloc(bytes, kOrigin))).ok());
  const std::uint64_t rounds = benchmark.rounds(usual);
  benchmark.start();
  for (std::uint64_t n = 0; n < rounds; ++n) {
    const auto at = manager.vmalloc(bytes, kOrigin);
    if (!at.ok()) [[unlikely]]
      return at.error();
    CHECK(manager.vfree(at.take()).ok());
  }
  benchmark.stop(rounds);
  return {};
}

Result<void> pair_4k(Benchmark& benchmark) { return pairs(benchmark, 4_KiB, 1000); }
Result<void> pair_64k(Benchmark& benchmark) { return pairs(benchmark, 64_KiB, 500); }
Result<void> pair_1m(Benchmark& benchmark) { return pairs(benchmark, 1_MiB, 50); }

// The addresses alone.
Result<void> addresses(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  if (!manager.has_addresses()) return Error::not_found;
  KernelRanges& ranges = manager.addresses().ranges();
  const std::uint64_t rounds = benchmark.rounds(1000);
  const RangeRequest request{.bytes = 2 * kPageSize};
  benchmark.start();
  for (std::uint64_t n = 0; n < rounds; ++n) {
    const auto range = ranges.allocate(request);
    if (!range.ok()) [[unlikely]]
      return range.error();
    ranges.release(*range.take());
  }
  benchmark.stop(rounds);
  return {};
}

constexpr std::array kCases{
    BenchmarkCase{"pair-4k", "pair", "vmalloc and vfree of 4 KiB", pair_4k},
    BenchmarkCase{"pair-64k", "pair", "vmalloc and vfree of 64 KiB", pair_64k},
    BenchmarkCase{"pair-1m", "pair", "vmalloc and vfree of 1 MiB", pair_1m},
    BenchmarkCase{"addresses", "pair", "a range of addresses taken and given back, nothing mapped",
                  addresses},
};

}  // namespace

std::span<const BenchmarkCase> vmalloc_benchmark_cases() { return kCases; }

}  // namespace memory
