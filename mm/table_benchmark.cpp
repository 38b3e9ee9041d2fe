// What page tables cost: KOS's map_page and unmap_page, a page at a time, on a tree that no CPU has loaded and on the
// kernel's own, whose pages this CPU must forget.
// SPDX-License-Identifier: MIT
#include <array>

#include "mm/base/check.hpp"
#include "mm/benchmark.hpp"
#include "mm/table_call.hpp"

namespace memory {

namespace {

constexpr VirtAddr kPlace{0x5000'4000'0000};  // of whole tables on every level but the highest two
constexpr PhysAddr kTarget{0x20'0000};        // nobody looks there
constexpr PteFlags kData{PageEntry::kPresent | PageEntry::kWrite | PageEntry::kUser | PageEntry::kNoExecute};
constexpr PteFlags kLargeData{kData.bits | PteFlags::kHuge};

// A tree of its own.
class OwnTree {
 public:
  explicit OwnTree(MemoryManager& manager) : manager_(manager), made_(manager.directories().create()) {}
  ~OwnTree() {
    if (made_.ok()) CHECK(manager_.directories().destroy(root()).ok());
  }
  OwnTree(const OwnTree&) = delete;
  Error error() const { return made_.error(); }
  PhysAddr root() const { return made_.take()->root().table; }

 private:
  MemoryManager& manager_;
  Result<PageTables*> made_;
};

// Maps and unmaps the same page, beside one that keeps the tables where `neighbour` is not null.
Result<void> pairs(Benchmark& benchmark, VirtAddr neighbour, PteFlags flags) {
  MemoryManager& manager = benchmark.manager();
  const OwnTree tree(manager);
  TRY(Result<void>(tree.error()));
  const PhysAddr root = tree.root();
  if (neighbour.value != 0) TRY(map_page(manager, root, neighbour, kTarget, kData));
  const std::uint64_t rounds = benchmark.rounds(1000);
  benchmark.start();
  for (std::uint64_t n = 0; n < rounds; ++n) {
    TRY(map_page(manager, root, kPlace, kTarget, flags));
    CHECK(unmap_page(manager, root, kPlace).ok());
  }
  benchmark.stop(rounds);
  return {};
}

Result<void> pair_4k(Benchmark& benchmark) { return pairs(benchmark, kPlace + kPageSize, kData); }
Result<void> pair_2m(Benchmark& benchmark) { return pairs(benchmark, kPlace + 2_MiB, kLargeData); }
Result<void> pair_alone(Benchmark& benchmark) { return pairs(benchmark, VirtAddr{}, kData); }

enum class Part : std::uint8_t { map, unmap };

// A whole table's pages, one after the other, then away again one after the other.
template <Part part>
Result<void> batches(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  const OwnTree tree(manager);
  TRY(Result<void>(tree.error()));
  const PhysAddr root = tree.root();
  TRY(map_page(manager, root, kPlace + 2_MiB, kTarget, kData));  // the tables above stay
  for (std::uint64_t n = benchmark.rounds(4); n > 0; --n) {
    if (part == Part::map) benchmark.start();
    for (std::uint64_t page = 0; page < kTableEntries; ++page)
      TRY(map_page(manager, root, kPlace + page * kPageSize, kTarget + page * kPageSize, kData));
    if (part == Part::map) benchmark.stop(kTableEntries);
    if (part == Part::unmap) benchmark.start();
    for (std::uint64_t page = 0; page < kTableEntries; ++page)
      CHECK(unmap_page(manager, root, kPlace + page * kPageSize).ok());
    if (part == Part::unmap) benchmark.stop(kTableEntries);
  }
  return {};
}

// In the kernel's tree, in a range of addresses that is nobody else's: every CPU that is up forgets the page.
Result<void> kernel_pairs(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  if (!manager.has_addresses()) return Error::not_found;
  KernelRanges& ranges = manager.addresses().ranges();
  PageTables& tables = manager.addresses().vmalloc().tables();
  KernelRange& range = *TRY(ranges.allocate({.bytes = 2 * kPageSize}));
  const VirtAddr at = range.body().first;
  const VirtAddr neighbour = at + kPageSize;
  const auto unmap = [&tables](VirtAddr page) {
    FlushBatch flush(tables);
    CHECK(tables.unmap(page, kPageSize, flush).ok());
  };
  constexpr Protection kHow{.access = Access::read_write};
  auto mapped = tables.map(neighbour, kTarget, kPageSize, kHow);
  if (mapped.ok()) {
    const std::uint64_t rounds = benchmark.rounds(1000);
    benchmark.start();
    for (std::uint64_t n = 0; n < rounds && mapped.ok(); ++n) {
      mapped = tables.map(at, kTarget, kPageSize, kHow);
      if (mapped.ok()) unmap(at);
    }
    benchmark.stop(rounds);
    unmap(neighbour);
  }
  ranges.release(range);
  return mapped;
}

constexpr std::array kCases{
    BenchmarkCase{"pair-4k", "pair", "map_page and unmap_page of 4 KiB", pair_4k},
    BenchmarkCase{"pair-2m", "pair", "map_page and unmap_page of 2 MiB", pair_2m},
    BenchmarkCase{"pair-alone", "pair", "the same of 4 KiB with nothing beside it: three tables come and go",
                  pair_alone},
    BenchmarkCase{"kernel-4k", "pair", "the same in the kernel's own tree, and the CPUs forget it",
                  kernel_pairs},
    BenchmarkCase{"batch-map", "page", "map_page of 4 KiB, 512 in a row", batches<Part::map>},
    BenchmarkCase{"batch-unmap", "page", "unmap_page of 4 KiB, 512 in a row", batches<Part::unmap>},
};

}  // namespace

std::span<const BenchmarkCase> table_benchmark_cases() { return kCases; }

}  // namespace memory
