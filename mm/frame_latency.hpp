// FrameLatency: how long calls of the frame allocator take, as a histogram for each path, from a seeded run.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>

#include "mm/base/random.hpp"
#include "mm/memory_manager.hpp"

namespace memory {

class Inspector;

// Calls by the power of two below their ticks: bucket n holds those that took [2^n, 2^(n+1)), bucket 0 also those that
// took none, the last also those that took longer.
struct LatencyHistogram {
  static constexpr unsigned kBuckets = 24;

  std::array<std::uint32_t, kBuckets> buckets{};
  std::uint64_t calls = 0;
  std::uint64_t least = ~std::uint64_t{0};
  std::uint64_t most = 0;
  std::uint64_t ticks = 0;  // of all calls

  void add(std::uint64_t spent);
  static unsigned bucket_of(std::uint64_t spent);
};

class FrameLatency {
 public:
  enum class Verb : std::uint8_t { alloc, free };
  // fast: the zones' free memory stood still, so the magazines served the call.
  enum class Path : std::uint8_t { fast, slow };
  static constexpr unsigned kOrders = config::max_order + 1;
  static constexpr std::size_t kMostHeld = 16'384;

  // `ticks` reads a clock.
  constexpr FrameLatency() = default;
  FrameLatency(const FrameLatency&) = delete;

  // `operations` allocations and releases of random blocks: memory fills up to nine tenths and empties to three, and so
  // on; each is measured by itself, without interrupts. Gives everything back, unmeasured. Starts from nothing at every
  // call. Stops when keep_going() says no. Fails with no_memory when there is no room for the table of what it holds.
  // One user at a time; nobody else allocates meanwhile.
  template <typename KeepGoing>
  Result<void> run(MemoryManager& manager, std::uint64_t (*ticks)(), std::uint64_t operations,
                   std::uint64_t seed, KeepGoing&& keep_going) {
    TRY(open(manager, ticks, seed));
    for (std::uint64_t n = 0; n < operations && keep_going(); ++n) step();
    close();
    return {};
  }

  const LatencyHistogram& of(Verb verb, Order order, Path path) const {
    return histograms_[raw(verb)][raw(order)][raw(path)];
  }
  std::uint64_t refused() const { return refused_; }

  // One row for each path that was taken: its figures, and its buckets from `first_bucket` on.
  void describe(Inspector& to) const;

 private:
  struct Held {
    FrameNumber number;
    std::uint32_t order;
  };
  static constexpr Order kTableOrder{5};
  static_assert(kMostHeld * sizeof(Held) == bytes_in(kTableOrder));
  static constexpr std::size_t raw(Verb verb) { return static_cast<std::size_t>(verb); }
  static constexpr std::size_t raw(Path path) { return static_cast<std::size_t>(path); }
  static constexpr std::size_t raw(Order order) { return memory::raw(order); }

  Result<void> open(MemoryManager& manager, std::uint64_t (*ticks)(), std::uint64_t seed);
  void step();
  void allocate();
  void release(std::size_t slot);
  void close();
  template <typename Body>
  void measure(Verb verb, Order order, Body&& body);

  MemoryManager* manager_ = nullptr;
  std::uint64_t (*ticks_)() = nullptr;
  std::uint64_t own_ticks_ = 0;
  Random random_{0};
  FrameNumber table_frame_ = kNoFrame;
  Held* table_ = nullptr;
  std::size_t held_ = 0;
  bool filling_ = true;
  std::uint64_t refused_ = 0;
  std::array<std::array<std::array<LatencyHistogram, 2>, kOrders>, 2> histograms_{};
};

}  // namespace memory
