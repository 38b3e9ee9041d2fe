// Frame allocators side by side: the same work on each, counted by callgrind or timed. compare.py runs it.
// SPDX-License-Identifier: MIT
//
// Prints one line for each measurement, tab-separated: allocator, case, operations, nanoseconds (or the plain
// result). Under callgrind each counted part ends in a dump that is named
// "allocator<TAB>case<TAB>operations".
#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <valgrind/callgrind.h>

#include "bench/physical/list_buddy.hpp"
#include "mm/base/bits.hpp"
#include "mm/base/random.hpp"
#include "mm/physical/buddy.hpp"

namespace {

using bench::kNone;
using bench::kOrders;
using memory::Random;

constexpr std::uint32_t kFrames = 262'144;  // 1 GiB
bool counting = false;

// Ours, without the lock of its zone: the peers take none either.
class Ours {
 public:
  static constexpr const char* kName = "Coronel";
  static constexpr double kBytesPerFrame =
      static_cast<double>(sizeof(memory::Pageblock)) / memory::Pageblock::kFrames +
      1;  // and Frame::state_order

  explicit Ours(std::uint32_t frames)
      : array_(frames),
        blocks_(frames / memory::Pageblock::kFrames),
        table_(array_.data(), blocks_.data(), nullptr, memory::PhysAddr{0}),
        buddy_(table_) {
    table_.add({memory::PhysAddr{0}, memory::PhysAddr{std::uint64_t{frames} * memory::kPageSize}}, 0);
    buddy_.cover(0, static_cast<std::uint32_t>(blocks_.size()));
    buddy_.donate(memory::FrameNumber{0}, frames);
  }

  [[gnu::always_inline]] std::uint32_t allocate(unsigned order) {
    const memory::Order wanted{static_cast<std::uint8_t>(order)};
    const auto block = buddy_.take(wanted);
    if (!block.ok()) return kNone;
    const memory::FrameNumber number = block.take();
    table_[number].set(memory::FrameState::allocated, wanted);
    return raw(number);
  }
  [[gnu::always_inline]] void release(std::uint32_t number, unsigned order) {
    const memory::Order held{static_cast<std::uint8_t>(order)};
    memory::Frame& frame = table_[memory::FrameNumber{number}];
    if (!frame.is(memory::FrameState::allocated, held)) std::abort();
    frame.set(memory::FrameState::cached, held);
    buddy_.give(memory::FrameNumber{number}, held);
  }
  std::uint32_t free_frames() const { return static_cast<std::uint32_t>(buddy_.free_frames()); }
  std::uint32_t free_large_blocks() const {
    const auto blocks = buddy_.free_blocks();
    std::uint32_t large = 0;
    for (unsigned order = 9; order < kOrders; ++order)
      large += static_cast<std::uint32_t>(blocks[order]) << (order - 9);
    return large;
  }

 private:
  std::vector<memory::Frame> array_;
  std::vector<memory::Pageblock> blocks_;
  memory::FrameTable table_;
  memory::Buddy buddy_;
};

template <typename Allocator>
constexpr const char* kNameOf = Allocator::kName;
template <>
constexpr const char* kNameOf<bench::Cached<bench::ListBuddy>> = "list buddy + CPU list";
template <>
constexpr const char* kNameOf<bench::Cached<Ours>> = "Coronel + CPU list";

// Runs `body`, which does `operations` of what the case is about, and reports it.
template <typename Body>
void measure(const char* allocator, const std::string& name, std::uint64_t operations, Body&& body) {
  const std::string title = std::string(allocator) + "\t" + name + "\t" + std::to_string(operations);
  if (counting) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
    body();
    CALLGRIND_DUMP_STATS_AT(title.c_str());
    CALLGRIND_STOP_INSTRUMENTATION;
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  body();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  std::printf("%s\t%.1f\n", title.c_str(), took.count());
}

void report(const char* allocator, const char* name, double value) {
  if (!counting) std::printf("%s\t%s\t0\t%.3f\n", allocator, name, value);
}

std::vector<std::uint32_t> shuffled(std::vector<std::uint32_t> numbers, Random& random) {
  for (std::size_t n = numbers.size(); n > 1; --n) std::swap(numbers[n - 1], numbers[random.below(n)]);
  return numbers;
}

template <typename Allocator>
void pairs() {
  for (unsigned order = 0; order < kOrders; ++order) {
    Allocator allocator(kFrames);
    const unsigned times = counting ? 2'000 : 200'000;
    measure(kNameOf<Allocator>, "pair, order " + std::to_string(order), times, [&] {
      for (unsigned n = 0; n < times; ++n) allocator.release(allocator.allocate(order), order);
    });
  }
}

// The same where a block of just that order is free, so that nothing splits and nothing merges.
template <typename Allocator>
void exact_pairs() {
  for (const unsigned order : {0u, 3u, 9u, 10u}) {
    Allocator allocator(kFrames);
    (void)allocator.allocate(order);
    const unsigned times = counting ? 2'000 : 200'000;
    measure(kNameOf<Allocator>, "pair without split, order " + std::to_string(order), times, [&] {
      for (unsigned n = 0; n < times; ++n) allocator.release(allocator.allocate(order), order);
    });
  }
}

// The same where memory is in use, so that not every pair splits and merges the largest block there is.
template <typename Allocator>
void settled_pairs() {
  for (const unsigned order : {0u, 3u, 9u}) {
    Allocator allocator(kFrames);
    Random random{7};
    std::vector<std::pair<std::uint32_t, unsigned>> held;
    while (allocator.free_frames() > kFrames / 2) {
      const unsigned some = memory::lowest_bit(random.next() | 1u << (kOrders - 1));
      held.push_back({allocator.allocate(some), some});
    }
    const unsigned times = counting ? 2'000 : 200'000;
    measure(kNameOf<Allocator>, "pair in use, order " + std::to_string(order), times, [&] {
      for (unsigned n = 0; n < times; ++n) allocator.release(allocator.allocate(order), order);
    });
  }
}

template <typename Allocator>
void batches() {
  Allocator allocator(kFrames);
  constexpr unsigned kBatch = 256;
  const unsigned times = counting ? 20 : 2'000;
  std::uint32_t batch[kBatch];
  measure(kNameOf<Allocator>, "batch of 256, order 0", std::uint64_t{times} * kBatch, [&] {
    for (unsigned n = 0; n < times; ++n) {
      for (std::uint32_t& frame : batch) frame = allocator.allocate(0);
      for (const std::uint32_t frame : batch) allocator.release(frame, 0);
    }
  });
}

template <typename Allocator>
void random_half() {
  Allocator allocator(kFrames);
  Random random{11};
  std::vector<std::uint32_t> held(kFrames / 2);
  std::vector<std::uint32_t> places(held.size());
  for (std::uint32_t n = 0; n < places.size(); ++n) places[n] = n;
  places = shuffled(std::move(places), random);
  measure(kNameOf<Allocator>, "half of memory, order 0, random release", held.size(), [&] {
    for (std::uint32_t& frame : held) frame = allocator.allocate(0);
    for (const std::uint32_t place : places) allocator.release(held[place], 0);
  });
}

// Random releases and allocations at half load; order n half as likely as order n - 1. What to do is drawn
// before.
template <typename Allocator>
void mixed() {
  Allocator allocator(kFrames);
  Random random{13};
  struct Step {
    std::uint32_t slot;
    unsigned order;
  };
  struct Held {
    std::uint32_t number;
    unsigned order;
  };
  std::vector<Held> held;
  const auto draw = [&] { return memory::lowest_bit(random.next() | 1u << (kOrders - 1)); };
  while (allocator.free_frames() > kFrames / 2) {
    const unsigned order = draw();
    held.push_back({allocator.allocate(order), order});
  }
  std::vector<Step> steps(counting ? 20'000 : 400'000);
  for (Step& step : steps) step = {static_cast<std::uint32_t>(random.below(held.size())), draw()};
  std::uint64_t refused = 0;
  measure(kNameOf<Allocator>, "mixed orders at half load", steps.size(), [&] {
    for (const Step& step : steps) {
      Held& victim = held[step.slot];
      if (victim.number != kNone) allocator.release(victim.number, victim.order);
      victim = {allocator.allocate(step.order), step.order};
      refused += victim.number == kNone;
    }
  });
  report(kNameOf<Allocator>, "mixed orders: refused, %",
         100.0 * static_cast<double>(refused) / static_cast<double>(steps.size()));
}

// The share of 2 MiB blocks that are free, of those that the free frames could make.
template <typename Allocator>
double whole_share(const Allocator& allocator) {
  return 100.0 * allocator.free_large_blocks() / (allocator.free_frames() / 512);
}

template <typename Allocator>
void fragmentation() {
  if (counting) return;
  Allocator allocator(kFrames);
  Random random{17};
  std::vector<std::uint32_t> held;
  for (std::uint32_t frame = allocator.allocate(0); frame != kNone; frame = allocator.allocate(0))
    held.push_back(frame);
  held = shuffled(std::move(held), random);
  for (; held.size() > kFrames / 2; held.pop_back()) allocator.release(held.back(), 0);
  report(kNameOf<Allocator>, "free 2 MiB blocks of those possible, % (a)", whole_share(allocator));
  for (unsigned round = 0; round < 10 * (kFrames / 1000); ++round) {
    for (unsigned n = 0; n < 1024; ++n) {
      std::swap(held[random.below(held.size())], held.back());
      allocator.release(held.back(), 0);
      held.pop_back();
    }
    for (unsigned n = 0; n < 1024; ++n) held.push_back(allocator.allocate(0));
  }
  report(kNameOf<Allocator>, "free 2 MiB blocks of those possible, % (b)", whole_share(allocator));
  report(kNameOf<Allocator>, "bytes per frame", Allocator::kBytesPerFrame);
}

template <typename Allocator>
void run() {
  pairs<Allocator>();
  exact_pairs<Allocator>();
  settled_pairs<Allocator>();
  batches<Allocator>();
  random_half<Allocator>();
  mixed<Allocator>();
  fragmentation<Allocator>();
}

}  // namespace

// The only verb of the seam that is not inline and that the frame allocator calls.
void memory::platform::panic(std::string_view why, const char* file, int line) {
  std::fprintf(stderr, "%.*s at %s:%d\n", static_cast<int>(why.size()), why.data(), file, line);
  std::abort();
}

int main(int count, char** words) {
  static memory::PerCpu cpu;
  syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu);  // counters are counted as on the machine: one instruction
  counting = count > 1 && std::strcmp(words[1], "--count") == 0;
  const char* only = count > 2 ? words[2] : "";
  if (*only == '\0') {
    run<bench::ListBuddy>();
    run<bench::Cached<bench::ListBuddy>>();
  }
  run<Ours>();
  if (*only == '\0') run<bench::Cached<Ours>>();
}
