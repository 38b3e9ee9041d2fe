// The host library's kmalloc beside malloc: the same objects from each, as harness.hpp says. `make bench` runs it.
// SPDX-License-Identifier: MIT
#include <cstring>
#include <utility>
#include <vector>

#include "bench/host/harness.hpp"
#include "mm/base/random.hpp"
#include "mm/mm.h"

namespace {

using bench::counting;
using bench::measure;
using memory::Random;

constexpr std::size_t kObjects = 1'000;  // live in a batch
constexpr std::size_t kChurned = 10'000;

// What a caller does with an object at the least: its first word is written.
void* touched(void* object) {
  if (object == nullptr) bench::fail("no memory");
  std::memset(object, 1, sizeof(void*));
  asm volatile("" : "+r"(object) : : "memory");  // or the compiler drops a pair
  return object;
}

struct Coronel {
  static void* allocate(std::size_t bytes) { return touched(kmalloc(bytes, GFP_KERNEL)); }
  static void release(void* object) {
    if (kfree(object) != 0) bench::fail("an object was not taken back");
  }
};

struct Malloc {
  static void* allocate(std::size_t bytes) { return touched(std::malloc(bytes)); }
  static void release(void* object) { std::free(object); }
};

template <typename Allocator>
void pairs(const char* name, std::size_t bytes) {
  const unsigned times = counting ? 5'000 : 500'000;
  measure(name, times, [&] {
    for (unsigned n = 0; n < times; ++n) Allocator::release(Allocator::allocate(bytes));
  });
}

// All of a batch are allocated, then released in an order that was drawn before.
template <typename Allocator>
void batches(const char* name, std::size_t bytes) {
  Random random{17};
  std::vector<void*> held(kObjects);
  std::vector<std::uint32_t> places(kObjects);
  for (std::uint32_t n = 0; n < kObjects; ++n) places[n] = n;
  for (std::size_t n = kObjects; n > 1; --n) std::swap(places[n - 1], places[random.below(n)]);
  const unsigned times = counting ? 10 : 500;
  measure(name, std::uint64_t{times} * kObjects, [&] {
    for (unsigned round = 0; round < times; ++round) {
      for (void*& object : held) object = Allocator::allocate(bytes);
      for (const std::uint32_t place : places) Allocator::release(held[place]);
    }
  });
}

// A step releases a random one of the live objects of 16 B to 2 KiB and allocates another; drawn before.
template <typename Allocator>
void churn() {
  Random random{19};
  const auto draw = [&] { return static_cast<std::uint32_t>(16 + random.below(2033)); };
  std::vector<void*> held(kChurned);
  for (void*& object : held) object = Allocator::allocate(draw());
  std::vector<std::pair<std::uint32_t, std::uint32_t>> steps(counting ? 20'000 : 1'000'000);
  for (auto& step : steps) step = {static_cast<std::uint32_t>(random.below(kChurned)), draw()};
  measure("object-churn", steps.size(), [&] {
    for (const auto& [slot, bytes] : steps) {
      Allocator::release(held[slot]);
      held[slot] = Allocator::allocate(bytes);
    }
  });
  for (void* const object : held) Allocator::release(object);
}

template <typename Allocator>
void run() {
  pairs<Allocator>("object-pair-64", 64);
  batches<Allocator>("object-batch-64", 64);
  batches<Allocator>("object-batch-1k", 1024);
  batches<Allocator>("object-batch-8k", 8192);
  churn<Allocator>();
}

}  // namespace

int main(int count, char** words) { return bench::run_for(count, words, run<Coronel>, run<Malloc>); }
