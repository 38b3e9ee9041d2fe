// The host library's pages beside malloc's: the same work on each, as harness.hpp says. `make
// bench` runs it.
// SPDX-License-Identifier: MIT
#include <utility>
#include <vector>

#include "bench/host/harness.hpp"
#include "mm/base/random.hpp"
#include "mm/mm.h"

namespace {

using bench::counting;
using bench::fail;
using bench::measure;
using memory::Random;

constexpr std::size_t kPage = 4096;
constexpr unsigned kHalf = 32'768;  // frames of the random and of the mixed case: 128 MiB
constexpr unsigned kLargest = 10;

struct Coronel {
  using Block = std::int64_t;
  static Block allocate(unsigned order) { return alloc_pages(order, GFP_KERNEL); }
  static void release(Block block, unsigned order) {
    if (free_pages(static_cast<std::uint64_t>(block), order) != 0) fail("a block was not taken back");
  }
  static bool good(Block block) { return block >= 0; }
};

// As a caller gets pages from malloc: by their size, aligned or not, which is what it does best.
struct Malloc {
  using Block = void*;
  static Block allocate(unsigned order) {
    Block block = std::malloc(kPage << order);
    asm volatile("" : "+r"(block) : : "memory");  // or the compiler drops a pair
    return block;
  }
  static void release(Block block, unsigned) { std::free(block); }
  static bool good(Block block) { return block != nullptr; }
};

template <typename Allocator>
void pairs(const char* name, unsigned order) {
  const unsigned times = counting ? 5'000 : 500'000;
  measure(name, times, [&] {
    for (unsigned n = 0; n < times; ++n) {
      const auto block = Allocator::allocate(order);
      if (!Allocator::good(block)) fail("no memory");
      Allocator::release(block, order);
    }
  });
}

template <typename Allocator>
void batches() {
  constexpr unsigned kBatch = 256;
  const unsigned times = counting ? 40 : 2'000;
  std::vector<typename Allocator::Block> batch(kBatch);
  measure("batch-4k", std::uint64_t{times} * kBatch, [&] {
    for (unsigned n = 0; n < times; ++n) {
      for (auto& block : batch) block = Allocator::allocate(0);
      for (const auto block : batch) Allocator::release(block, 0);
    }
  });
}

template <typename Allocator>
void random_half() {
  Random random{11};
  std::vector<typename Allocator::Block> held(kHalf);
  std::vector<std::uint32_t> places(kHalf);
  for (std::uint32_t n = 0; n < kHalf; ++n) places[n] = n;
  for (std::size_t n = kHalf; n > 1; --n) std::swap(places[n - 1], places[random.below(n)]);
  measure("random-4k", kHalf, [&] {
    for (auto& block : held) block = Allocator::allocate(0);
    for (const std::uint32_t place : places) Allocator::release(held[place], 0);
  });
}

// Order n half as likely as order n - 1; what to do is drawn before.
template <typename Allocator>
void mixed() {
  Random random{13};
  const auto draw = [&] { return static_cast<unsigned>(__builtin_ctzll(random.next() | 1u << kLargest)); };
  struct Held {
    typename Allocator::Block block;
    unsigned order;
  };
  std::vector<Held> held;
  for (unsigned frames = 0; frames < kHalf;) {
    const unsigned order = draw();
    held.push_back({Allocator::allocate(order), order});
    frames += 1u << order;
  }
  std::vector<std::pair<std::uint32_t, unsigned>> steps(counting ? 10'000 : 200'000);
  for (auto& step : steps) step = {static_cast<std::uint32_t>(random.below(held.size())), draw()};
  measure("mixed", steps.size(), [&] {
    for (const auto& [slot, order] : steps) {
      Allocator::release(held[slot].block, held[slot].order);
      held[slot] = {Allocator::allocate(order), order};
      if (!Allocator::good(held[slot].block)) fail("no memory");
    }
  });
  for (const Held& one : held) Allocator::release(one.block, one.order);
}

template <typename Allocator>
void run() {
  pairs<Allocator>("pair-4k", 0);
  batches<Allocator>();
  random_half<Allocator>();
  mixed<Allocator>();
  pairs<Allocator>("pair-2m", 9);
}

}  // namespace

int main(int count, char** words) { return bench::run_for(count, words, run<Coronel>, run<Malloc>); }
