// FrameBenchmark: the cases.
// SPDX-License-Identifier: MIT
#include "mm/frame_benchmark.hpp"

#include <algorithm>
#include <array>

#include "mm/base/bits.hpp"

namespace memory {

namespace {

constexpr Order kSingle{0};
constexpr unsigned kPairs = 10'000;
constexpr unsigned kBatch = 256;
constexpr unsigned kBatches = 100;
constexpr unsigned kMixedSteps = 50'000;
constexpr std::uint64_t kSeed = 11;

Order draw_order(Random& random) {
  return Order{static_cast<std::uint8_t>(lowest_bit(random.next() | 1u << config::max_order))};
}

}  // namespace

// Blocks that a case holds, in a block of 2 MiB: an order in the upper bits, so that one word says both.
class FrameBenchmark::Table {
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

// A block of the order is free beforehand and no pair splits: what a machine in use does nearly always.
template <unsigned order>
Result<Measurement> FrameBenchmark::pairs() {
  constexpr Order kOrder{order};
  Table table(manager_);
  if (!table.ok()) return Error::no_memory;
  do table.push(TRY(manager_.alloc_pages(kOrder)), kOrder);
  while (manager_.physical().free_blocks()[order] == 0);
  const std::uint64_t start = ticks_();
  for (unsigned n = 0; n < kPairs; ++n) {
    const auto block = manager_.alloc_pages(kOrder);
    if (!block.ok()) return block.error();
    if (!manager_.free_pages(block.take(), kOrder).ok()) return Error::invalid;
  }
  return Measurement{.operations = kPairs, .ticks = ticks_() - start};
}

// Returns the allocations' share and fills in both.
Result<Measurement> FrameBenchmark::batches(Measurement& allocations, Measurement& releases) {
  static std::array<FrameNumber, kBatch> batch;  // one user at a time, and too large for a kernel stack
  for (unsigned round = 0; round < kBatches; ++round) {
    const std::uint64_t start = ticks_();
    unsigned count = 0;
    for (; count < kBatch; ++count) {
      const auto frame = manager_.alloc_pages(kSingle);
      if (!frame.ok()) break;
      batch[count] = frame.take();
    }
    const std::uint64_t middle = ticks_();
    for (unsigned n = 0; n < count; ++n)
      if (!manager_.free_pages(batch[n], kSingle).ok()) return Error::invalid;
    const std::uint64_t end = ticks_();
    if (count < kBatch) return Error::no_memory;
    allocations = {allocations.operations + kBatch, allocations.ticks + middle - start};
    releases = {releases.operations + kBatch, releases.ticks + end - middle};
  }
  return allocations;
}

Result<Measurement> FrameBenchmark::batch_allocations() {
  Measurement allocations, releases;
  return batches(allocations, releases);
}

Result<Measurement> FrameBenchmark::batch_releases() {
  Measurement allocations, releases;
  TRY(batches(allocations, releases));
  return releases;
}

// Half of all free memory in single frames, given back in random order. The order is drawn between the two parts.
Result<Measurement> FrameBenchmark::random_half() {
  Table table(manager_);
  if (!table.ok()) return Error::no_memory;
  const std::uint64_t wanted = std::min<std::uint64_t>(manager_.physical().levels().free / 2, Table::kMost);
  Measurement spent{.operations = wanted};
  std::uint64_t start = ticks_();
  while (table.size() < wanted) table.push(TRY(manager_.alloc_pages(kSingle)));
  spent.ticks = ticks_() - start;
  Random random{kSeed};
  table.shuffle(random);
  start = ticks_();
  while (table.size() > 0) table.pop();
  spent.ticks += ticks_() - start;
  return spent;
}

// At half load, order n half as likely as order n - 1: a random block goes and another comes.
Result<Measurement> FrameBenchmark::mixed_orders() {
  Table table(manager_);
  if (!table.ok()) return Error::no_memory;
  Random random{kSeed};
  const std::uint64_t half = manager_.physical().levels().free / 2;
  for (std::uint64_t taken = 0; taken < half && !table.full();) {
    const Order order = draw_order(random);
    table.push(TRY(manager_.alloc_pages(order)), order);
    taken += frames_in(order);
  }
  Measurement spent;
  while (spent.operations < kMixedSteps) {
    const std::size_t slot = random.below(table.size());
    const Order order = draw_order(random);
    const std::uint64_t start = ticks_();
    table.swap_last(slot);
    table.pop();
    table.push(TRY(manager_.alloc_pages(order)), order);
    spent.ticks += ticks_() - start;
    ++spent.operations;
  }
  return spent;
}

WholeBlocks FrameBenchmark::whole_blocks() {
  manager_.physical().quiesce();
  WholeBlocks blocks;
  for (const Zone& zone : manager_.physical().node().zones()) {
    const auto free = zone.free_blocks();
    for (unsigned order = Pageblock::kWholeOrder; order < free.size(); ++order)
      blocks.free += free[order] << (order - Pageblock::kWholeOrder);
    blocks.possible += zone.levels().free_frames / Pageblock::kFrames;
  }
  return blocks;
}

Result<FrameBenchmark::Fragmentation> FrameBenchmark::fragmentation(std::uint64_t seed) {
  Table table(manager_);
  if (!table.ok()) return Error::no_memory;
  while (!table.full()) {
    const auto frame = manager_.alloc_pages(kSingle);
    if (!frame.ok()) break;
    table.push(frame.take());
  }
  const std::size_t all = table.size();
  Random random{seed};
  table.shuffle(random);
  while (table.size() > all / 2) table.pop();
  Fragmentation found{.after_half = whole_blocks(), .after_churn = {}};
  for (std::size_t round = 0; round < 10 * (all / 1000); ++round) {
    for (unsigned n = 0; n < 1024; ++n) {
      table.swap_last(random.below(table.size()));
      table.pop();
    }
    for (unsigned n = 0; n < 1024; ++n) table.push(TRY(manager_.alloc_pages(kSingle)));
  }
  found.after_churn = whole_blocks();
  return found;
}

std::span<const FrameBenchmark::Case> FrameBenchmark::cases() {
  using Self = FrameBenchmark;
  static constexpr Case kCases[] = {
      {"pages pair, order 0", "pair", &Self::pairs<0>},
      {"pages pair, order 1", "pair", &Self::pairs<1>},
      {"pages pair, order 3", "pair", &Self::pairs<3>},
      {"pages pair, order 4", "pair", &Self::pairs<4>},
      {"pages pair, order 9", "pair", &Self::pairs<9>},
      {"pages pair, order 10", "pair", &Self::pairs<10>},
      {"pages batch of 256, alloc", "frame", &Self::batch_allocations},
      {"pages batch of 256, free", "frame", &Self::batch_releases},
      {"pages half of memory, random free", "pair", &Self::random_half},
      {"pages mixed orders, half load", "pair", &Self::mixed_orders},
  };
  return kCases;
}

}  // namespace memory
