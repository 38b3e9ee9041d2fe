// FrameLatency and Benchmark: what they measure adds up, and memory is as it was.
// SPDX-License-Identifier: MIT
#include "mm/frame_latency.hpp"

#include "mm/benchmark.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 2400)};
constexpr PhysRange kLargeMemory[] = {frames(0, 5888)};  // room for what the largest case holds
const auto kForever = [] { return true; };

// Every reading is ten later than the one before.
std::uint64_t clock_now = 0;
std::uint64_t clock() { return clock_now += 10; }

std::uint64_t calls_of(const FrameLatency& latency, FrameLatency::Verb verb, FrameLatency::Path path) {
  std::uint64_t calls = 0;
  for (std::uint8_t order = 0; order < FrameLatency::kOrders; ++order)
    calls += latency.of(verb, Order{order}, path).calls;
  return calls;
}

}  // namespace

TEST(latency, a_bucket_holds_its_power_of_two) {
  EXPECT_EQ(LatencyHistogram::bucket_of(0), 0u);
  EXPECT_EQ(LatencyHistogram::bucket_of(1), 0u);
  EXPECT_EQ(LatencyHistogram::bucket_of(2), 1u);
  EXPECT_EQ(LatencyHistogram::bucket_of(63), 5u);
  EXPECT_EQ(LatencyHistogram::bucket_of(64), 6u);
  EXPECT_EQ(LatencyHistogram::bucket_of(~std::uint64_t{0}), LatencyHistogram::kBuckets - 1);
  LatencyHistogram histogram;
  for (const std::uint64_t spent : {5u, 7u, 8u}) histogram.add(spent);
  EXPECT_EQ(histogram.buckets[2], 2u);
  EXPECT_EQ(histogram.buckets[3], 1u);
  EXPECT_EQ(histogram.calls, 3u);
  EXPECT_EQ(histogram.least, 5u);
  EXPECT_EQ(histogram.most, 8u);
  EXPECT_EQ(histogram.ticks, 20u);
}

TEST(latency, every_call_is_in_one_bucket_and_memory_is_as_it_was) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  auto* const latency = unit::fresh<FrameLatency>();
  ASSERT(latency != nullptr);
  using Verb = FrameLatency::Verb;
  using Path = FrameLatency::Path;
  const PhysicalLevels before = world->physical().levels();
  constexpr std::uint64_t kOperations = 5000;
  ASSERT(latency->run(world->manager(), clock, kOperations, unit::seed(), kForever).ok());
  const std::uint64_t fast =
      calls_of(*latency, Verb::alloc, Path::fast) + calls_of(*latency, Verb::free, Path::fast);
  const std::uint64_t slow =
      calls_of(*latency, Verb::alloc, Path::slow) + calls_of(*latency, Verb::free, Path::slow);
  EXPECT_EQ(fast + slow, kOperations);
  EXPECT(fast > 0 && slow > 0);
  for (std::uint8_t order = 0; order < FrameLatency::kOrders; ++order) {
    const FrameCache& cache = world->physical().caches().all()[0];
    if (cache.pairs[FrameCache::place(ZoneKind::dma, Order{order})].most > 0) continue;
    EXPECT_EQ(latency->of(Verb::free, Order{order}, Path::fast).calls, 0u);  // no magazine holds these
  }
  const LatencyHistogram& singles = latency->of(Verb::alloc, Order{0}, Path::fast);
  EXPECT_EQ(singles.buckets[0], singles.calls);  // the clock's own ten ticks are taken off
  EXPECT_EQ(world->physical().levels().free, before.free);
  EXPECT(world->manager().valid());
}

TEST(latency, the_same_seed_takes_the_same_paths) {
  auto* const first = unit::fresh<FrameLatency>();
  auto* const second = unit::fresh<FrameLatency>();
  ASSERT(first != nullptr && second != nullptr);
  for (FrameLatency* const latency : {first, second}) {
    World world({.memory = kMemory});
    ASSERT(world.ok());
    ASSERT(latency->run(world->manager(), clock, 3000, unit::seed(), kForever).ok());
  }
  for (const auto verb : {FrameLatency::Verb::alloc, FrameLatency::Verb::free})
    for (const auto path : {FrameLatency::Path::fast, FrameLatency::Path::slow})
      for (std::uint8_t order = 0; order < FrameLatency::kOrders; ++order)
        EXPECT_EQ(first->of(verb, Order{order}, path).calls, second->of(verb, Order{order}, path).calls);
}

TEST(benchmark, every_case_counts_its_operations_and_gives_everything_back) {
  World world({.memory = kLargeMemory});
  ASSERT(world.ok());
  const auto settle = [&world] {
    world->manager().heap().quiesce();
    world->physical().quiesce();
  };
  const auto root = PageTables::new_root(world->physical(), PageLevel::gib_512);
  ASSERT(root.ok());
  auto* const tables = unit::fresh<PageTables>(world->physical(), root.take(), PageLevel::two_mib);
  ASSERT(tables != nullptr);
  world->manager().start_addresses(*tables);
  const auto first = world->manager().vmalloc(1, {"first"});  // makes a table that stays
  EXPECT(first.ok() && world->manager().vfree(first.take()).ok());
  settle();
  const auto blocks = world->physical().free_blocks();
  for (const BenchmarkSet& set : benchmark_sets())
    for (const BenchmarkCase& which : set.cases) {
      Benchmark benchmark(world->manager(), clock, 7);
      EXPECT(which.run(benchmark).ok());
      EXPECT(benchmark.spent().operations % 7 == 0 && benchmark.spent().operations > 0);
      settle();
      EXPECT(world->physical().free_blocks() == blocks);
    }
  EXPECT(world->manager().valid());
}
