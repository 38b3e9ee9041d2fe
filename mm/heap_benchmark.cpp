// The cases of the floor of objects, through the face, as kernel code calls it, with every check that is always on.
// SPDX-License-Identifier: MIT
#include <array>

#include "mm/base/random.hpp"
#include "mm/benchmark.hpp"

namespace memory {

namespace {

constexpr unsigned kPairs = 10'000;
constexpr unsigned kBatch = 1'000;
constexpr unsigned kBatches = 20;
constexpr unsigned kChurned = 1'000;
constexpr unsigned kChurnSteps = 20'000;
constexpr CacheShape kShape{.name = "bench-64", .object_bytes = 64};

std::array<void*, kBatch> held;  // one user at a time, and too large for a kernel stack

Result<void> cache_pairs(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  KmemCache* const cache = TRY(manager.heap().create(kShape));
  void* const first = TRY(cache->allocate());
  TRY(cache->release(first));  // its CPU has magazines now
  const std::uint64_t pairs = benchmark.rounds(kPairs);
  benchmark.start();
  for (std::uint64_t n = 0; n < pairs; ++n) {
    const auto object = cache->allocate();
    if (!object.ok()) return object.error();
    if (!manager.cache_free(*cache, object.take()).ok()) return Error::invalid;
  }
  benchmark.stop(pairs);
  return manager.heap().destroy(*cache);
}

enum class Part : std::uint8_t { allocations, releases };

// The first round, which makes the slabs, counts like the others.
template <Part measured>
Result<void> cache_batches(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  KmemCache* const cache = TRY(manager.heap().create(kShape));
  for (std::uint64_t round = benchmark.rounds(kBatches); round > 0; --round) {
    if (measured == Part::allocations) benchmark.start();
    for (void*& object : held) {
      const auto got = cache->allocate();
      if (!got.ok()) return got.error();
      object = got.take();
    }
    if (measured == Part::allocations) benchmark.stop(kBatch);
    if (measured == Part::releases) benchmark.start();
    for (void* const object : held)
      if (!manager.cache_free(*cache, object).ok()) return Error::invalid;
    if (measured == Part::releases) benchmark.stop(kBatch);
  }
  return manager.heap().destroy(*cache);
}

template <std::size_t bytes>
Result<void> kmalloc_pairs(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  void* const first = TRY(manager.kmalloc().allocate(bytes));
  TRY(manager.kfree(first));
  const std::uint64_t pairs = benchmark.rounds(kPairs);
  benchmark.start();
  for (std::uint64_t n = 0; n < pairs; ++n) {
    std::size_t size = bytes;
    asm volatile("" : "+r"(size));  // as for a size that is known only then
    const auto object = manager.kmalloc().allocate(size);
    if (!object.ok()) return object.error();
    if (!manager.kfree(object.take()).ok()) return Error::invalid;
  }
  benchmark.stop(pairs);
  return {};
}

// A step releases a random one of 1 000 live objects of 16 B to 1 KiB, and allocates another.
Result<void> churn(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  Random random{7};
  const auto size = [&random] { return 16 + random.below(1009); };
  for (unsigned n = 0; n < kChurned; ++n) held[n] = TRY(manager.kmalloc().allocate(size()));
  for (std::uint64_t step = benchmark.rounds(kChurnSteps); step > 0; --step) {
    const std::size_t slot = random.below(kChurned);
    const std::size_t bytes = size();
    benchmark.start();
    if (!manager.kfree(held[slot]).ok()) return Error::invalid;
    const auto object = manager.kmalloc().allocate(bytes);
    if (!object.ok()) return object.error();
    held[slot] = object.take();
    benchmark.stop(1);
  }
  for (unsigned n = 0; n < kChurned; ++n) TRY(manager.kfree(held[n]));
  return {};
}

constexpr BenchmarkCase kCases[] = {
    {"cache-pair-64", "pair", "kmem_cache of 64 B, allocated and freed", cache_pairs},
    {"cache-batch-alloc", "object", "1 000 of 64 B in a row, their allocation",
     cache_batches<Part::allocations>},
    {"cache-batch-free", "object", "1 000 of 64 B in a row, their release", cache_batches<Part::releases>},
    {"kmalloc-8", "pair", "kmalloc and kfree of 8 B", kmalloc_pairs<8>},
    {"kmalloc-64", "pair", "64 B", kmalloc_pairs<64>},
    {"kmalloc-1k", "pair", "1 KiB", kmalloc_pairs<1024>},
    {"kmalloc-8k", "pair", "8 KiB", kmalloc_pairs<8192>},
    {"kmalloc-16k", "pair", "16 KiB: four frames", kmalloc_pairs<16384>},
    {"kmalloc-64k", "pair", "64 KiB", kmalloc_pairs<65536>},
    {"kmalloc-1m", "pair", "1 MiB", kmalloc_pairs<1048576>},
    {"kmalloc-churn", "pair", "16 B - 1 KiB at random among 1 000 live", churn},
};

}  // namespace

std::span<const BenchmarkCase> heap_benchmark_cases() { return kCases; }

}  // namespace memory
