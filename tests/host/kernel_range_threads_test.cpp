// Four threads take and give back kernel addresses: no page has two owners, and everything joins again at the end.
// SPDX-License-Identifier: MIT
#include <array>
#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "mm/base/random.hpp"
#include "mm/host/cpu.hpp"
#include "mm/virtual/kernel_range.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;

namespace {

constexpr VirtAddr kStart{0xffff'c000'0000'0000};
constexpr unsigned kPages = 400;
constexpr unsigned kThreads = 4;

class Malloc final : public RangeStorage {
 public:
  Result<KernelRange*> fresh() override {
    return static_cast<KernelRange*>(std::malloc(sizeof(KernelRange)));
  }
  void give_back(KernelRange& range) override { std::free(&range); }
};

}  // namespace

TEST(kernel_range_threads, no_page_has_two_owners) {
  Malloc storage;
  KernelRanges ranges({kStart, kStart + kPages * kPageSize}, storage);
  std::array<std::uint8_t, kPages> owner{};  // plain: TSan sees a second owner as a race
  std::atomic<unsigned> stolen{0}, refused{0};
  const auto work = [&](unsigned thread) {
    Random random{unit::seed() * kThreads + thread};
    std::vector<VirtRange> held;
    const auto give = [&](std::size_t which) {
      for (VirtAddr at = held[which].first; at < held[which].end; at += kPageSize) {
        std::uint8_t& mark = owner[(at - kStart) / kPageSize];
        stolen += mark != thread + 1;
        mark = 0;
      }
      const auto back = ranges.take_back(held[which].first, RangeKind::vmalloc);
      if (back.ok()) {
        ranges.release(*back.take());
      } else {
        ++refused;
      }
      held[which] = held.back();
      held.pop_back();
    };
    for (unsigned n = 0; n < 4000; ++n) {
      if (!held.empty() && random.below(100) < 48) {
        give(random.below(held.size()));
      } else if (const auto got = ranges.allocate(
                     {.bytes = (1 + random.below(9)) * kPageSize, .align = kPageSize << random.below(3)});
                 got.ok()) {
        held.push_back(got.take()->body());
        for (VirtAddr at = held.back().first; at < held.back().end; at += kPageSize) {
          std::uint8_t& mark = owner[(at - kStart) / kPageSize];
          stolen += mark != 0;
          mark = static_cast<std::uint8_t>(thread + 1);
        }
        (void)ranges.find(held.back().first);
      }
    }
    while (!held.empty()) give(held.size() - 1);
  };
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < kThreads; ++n) threads.emplace_back(work, n);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stolen.load(), 0u);
  EXPECT_EQ(refused.load(), 0u);
  EXPECT(ranges.valid() && ranges.allocated() == 0);
  EXPECT_EQ(ranges.largest_free(), kPages * kPageSize);
  const auto last = ranges.allocate({.bytes = kPages * kPageSize, .guard_above = 0});
  ASSERT(last.ok());
  ranges.release(*last.take());
}
