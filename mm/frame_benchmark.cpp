// The frame allocator's benchmark: the cases, and fragmentation.
// SPDX-License-Identifier: MIT
#include "mm/frame_benchmark.hpp"

#include <algorithm>
#include <array>

#include "mm/base/bits.hpp"
#include "mm/base/random.hpp"
#include "mm/benchmark.hpp"

namespace memory {

namespace {

constexpr Order kSingle{0};
constexpr unsigned kPairs = 10'000;
constexpr unsigned kBatch = 256;
constexpr unsigned kBatches = 100;
constexpr unsigned kMixedSteps = 50'000;
constexpr unsigned kRefusals = 1000;
constexpr std::uint64_t kSeed = 11;

Order draw_order(Random& random) {
  return Order{static_cast<std::uint8_t>(lowest_bit(random.next() | 1u << config::max_order))};
}

// Blocks that a case holds, in a block of 2 MiB: an order in the upper bits, so that one word says both.
class Table {
 public:
  static constexpr Order kOrder{9};
  static constexpr std::size_t kMost = bytes_in(kOrder) / sizeof(std::uint32_t);

  explicit Table(MemoryManager& manager) : manager_(manager) {
    const auto block = manager.alloc_pages(kOrder);
    if (!block.ok()) return;
    number_ = block.take();
    entries_ = reinterpret_cast<std::uint32_t*>(manager.physical().frames().open(number_).bytes());
  }
  ~Table() {
    for (; count_ > 0; --count_) give_back(entries_[count_ - 1]);
    if (entries_ != nullptr) CHECK(manager_.free_pages(number_, kOrder).ok());
  }
  Table(const Table&) = delete;

  bool ok() const { return entries_ != nullptr; }
  std::size_t size() const { return count_; }
  bool full() const { return count_ == kMost; }
  void push(FrameNumber number, Order order = kSingle) { entries_[count_++] = packed(number, order); }
  void give_back(std::uint32_t entry) { CHECK(manager_.free_pages(number_of(entry), order_of(entry)).ok()); }
  void pop() { give_back(entries_[--count_]); }
  FrameNumber pop_single() { return number_of(entries_[--count_]); }  // for the caller to free
  void swap_last(std::size_t slot) { std::swap(entries_[slot], entries_[count_ - 1]); }
  std::uint32_t& operator[](std::size_t slot) { return entries_[slot]; }

  void shuffle(Random& random) {
    for (std::size_t n = count_; n > 1; --n) std::swap(entries_[n - 1], entries_[random.below(n)]);
  }

  static constexpr std::uint32_t packed(FrameNumber number, Order order) {
    return raw(number) | raw(order) << 28;
  }
  static constexpr FrameNumber number_of(std::uint32_t entry) { return FrameNumber{entry & 0x0fff'ffff}; }
  static constexpr Order order_of(std::uint32_t entry) {
    return Order{static_cast<std::uint8_t>(entry >> 28)};
  }
  static_assert(config::max_memory_gib <= 1024, "frame numbers have 28 bits here");

 private:
  MemoryManager& manager_;
  FrameNumber number_ = kNoFrame;
  std::uint32_t* entries_ = nullptr;
  std::size_t count_ = 0;
};

// Takes all free memory in single frames, until there is none or the table is full.
void fill(Table& table, MemoryManager& manager) {
  while (!table.full()) {
    const auto frame = manager.alloc_pages(kSingle);
    if (!frame.ok()) break;
    table.push(frame.take());
  }
}

// A block of the order is free beforehand and no pair splits: what a machine in use does nearly always. The order is
// known where the calls are compiled, as it is for nearly every caller.
template <unsigned order>
Result<void> pairs(Benchmark& benchmark) {
  constexpr Order kOrder{order};
  MemoryManager& manager = benchmark.manager();
  Table table(manager);
  if (!table.ok()) return Error::no_memory;
  do table.push(TRY(manager.alloc_pages(kOrder)), kOrder);
  while (manager.physical().free_blocks()[order] == 0);
  const std::uint64_t pairs = benchmark.rounds(kPairs);
  benchmark.start();
  for (std::uint64_t n = 0; n < pairs; ++n) {
    const auto block = manager.alloc_pages(kOrder);
    if (!block.ok()) return block.error();
    if (!manager.free_pages(block.take(), kOrder).ok()) return Error::invalid;
  }
  benchmark.stop(pairs);
  return {};
}

// The same with the magazines out of service, so that every call goes to a zone.
template <unsigned order>
Result<void> zone_pairs(Benchmark& benchmark) {
  Physical& physical = benchmark.manager().physical();
  physical.set_caching(FrameCaches::Service::off);
  const auto ran = pairs<order>(benchmark);
  physical.set_caching(FrameCaches::Service::on);
  return ran;
}

enum class Part : std::uint8_t { allocations, releases };

template <Part measured>
Result<void> batches(Benchmark& benchmark) {
  static std::array<FrameNumber, kBatch> batch;  // one user at a time, and too large for a kernel stack
  MemoryManager& manager = benchmark.manager();
  for (std::uint64_t round = benchmark.rounds(kBatches); round > 0; --round) {
    if (measured == Part::allocations) benchmark.start();
    unsigned count = 0;
    for (; count < kBatch; ++count) {
      const auto frame = manager.alloc_pages(kSingle);
      if (!frame.ok()) break;
      batch[count] = frame.take();
    }
    if (measured == Part::allocations) benchmark.stop(count);
    if (measured == Part::releases) benchmark.start();
    for (unsigned n = 0; n < count; ++n)
      if (!manager.free_pages(batch[n], kSingle).ok()) return Error::invalid;
    if (measured == Part::releases) benchmark.stop(count);
    if (count < kBatch) return Error::no_memory;
  }
  return {};
}

// Half of all free memory in single frames, given back in random order. The order is drawn between the two parts.
Result<void> random_half(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  Table table(manager);
  if (!table.ok()) return Error::no_memory;
  const std::uint64_t half = manager.physical().levels().free / 2;
  const std::uint64_t wanted = std::min<std::uint64_t>({benchmark.rounds(half), half, Table::kMost});
  benchmark.start();
  while (table.size() < wanted) table.push(TRY(manager.alloc_pages(kSingle)));
  benchmark.stop(0);
  Random random{kSeed};
  table.shuffle(random);
  benchmark.start();
  while (table.size() > 0)
    if (!manager.free_pages(table.pop_single(), kSingle).ok()) return Error::invalid;
  benchmark.stop(wanted);
  return {};
}

// At half load, order n half as likely as order n - 1: a random block goes and another comes.
Result<void> mixed_orders(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  Table table(manager);
  if (!table.ok()) return Error::no_memory;
  Random random{kSeed};
  const std::uint64_t half = manager.physical().levels().free / 2;
  for (std::uint64_t taken = 0; taken < half && !table.full();) {
    const Order order = draw_order(random);
    table.push(TRY(manager.alloc_pages(order)), order);
    taken += frames_in(order);
  }
  for (std::uint64_t step = benchmark.rounds(kMixedSteps); step > 0; --step) {
    const std::size_t slot = random.below(table.size());
    const Order order = draw_order(random);
    benchmark.start();
    table.swap_last(slot);
    table.pop();
    table.push(TRY(manager.alloc_pages(order)), order);
    benchmark.stop(1);
  }
  return {};
}

// What it costs to be told that there is no memory. Sends home what the CPUs cache, so the first one is the longest.
Result<void> refusals(Benchmark& benchmark) {
  MemoryManager& manager = benchmark.manager();
  Table table(manager);
  if (!table.ok()) return Error::no_memory;
  fill(table, manager);
  if (table.full()) return Error::no_memory;  // for the rest of memory there is no room in the table
  for (std::uint64_t round = benchmark.rounds(kRefusals); round > 0; --round) {
    benchmark.start();
    const auto frame = manager.alloc_pages(kSingle);
    benchmark.stop(1);
    if (frame.ok()) {
      table.push(frame.take());
      return Error::invalid;
    }
  }
  return {};
}

WholeBlocks whole_blocks(MemoryManager& manager) {
  manager.physical().quiesce();
  WholeBlocks blocks;
  for (const Zone& zone : manager.physical().node().zones()) {
    const auto free = zone.free_blocks();
    for (unsigned order = Pageblock::kWholeOrder; order < free.size(); ++order)
      blocks.free += free[order] << (order - Pageblock::kWholeOrder);
    blocks.possible += zone.levels().free_frames / Pageblock::kFrames;
  }
  return blocks;
}

constexpr BenchmarkCase kCases[] = {
    {"pair-0", "pair", "order 0, allocated and freed", pairs<0>},
    {"pair-1", "pair", "order 1", pairs<1>},
    {"pair-3", "pair", "order 3", pairs<3>},
    {"pair-4", "pair", "order 4, the first of which a magazine holds one", pairs<4>},
    {"pair-9", "pair", "order 9: 2 MiB", pairs<9>},
    {"pair-10", "pair", "order 10", pairs<10>},
    {"batch-alloc", "frame", "256 frames in a row, their allocation", batches<Part::allocations>},
    {"batch-free", "frame", "256 frames in a row, their release", batches<Part::releases>},
    {"random-half", "pair", "half of memory, freed in random order", random_half},
    {"mixed-orders", "pair", "at half load, order n half as likely as n - 1", mixed_orders},
    {"zone-pair-0", "pair", "order 0 without magazines", zone_pairs<0>},
    {"zone-pair-3", "pair", "order 3 without magazines", zone_pairs<3>},
    {"refused", "call", "an allocation that finds no memory", refusals},
};

}  // namespace

std::span<const BenchmarkCase> frame_benchmark_cases() { return kCases; }

Result<Fragmentation> measure_fragmentation(MemoryManager& manager, std::uint64_t seed) {
  Table table(manager);
  if (!table.ok()) return Error::no_memory;
  fill(table, manager);
  const std::size_t all = table.size();
  Random random{seed};
  table.shuffle(random);
  while (table.size() > all / 2) table.pop();
  Fragmentation found{.after_half = whole_blocks(manager), .after_churn = {}};
  for (std::size_t round = 0; round < 10 * (all / 1000); ++round) {
    for (unsigned n = 0; n < 1024; ++n) {
      table.swap_last(random.below(table.size()));
      table.pop();
    }
    for (unsigned n = 0; n < 1024; ++n) table.push(TRY(manager.alloc_pages(kSingle)));
  }
  found.after_churn = whole_blocks(manager);
  return found;
}

}  // namespace memory
