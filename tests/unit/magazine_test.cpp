// The caches in front of the zones: what they keep, when they go to the zone, and that nothing gets lost on the way.
// SPDX-License-Identifier: MIT
#include "mm/physical/magazine.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using stats::Counter;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 4096)};
constexpr Order kSingle{0};

const MagazinePair& pair_of(World& world, Order order) {
  return world->physical().caches().all()[0].pairs[FrameCache::place(ZoneKind::dma, order)];
}
std::uint64_t cached(World& world) { return world->physical().levels().cached; }
std::uint64_t in_zones(World& world) { return world->physical().zone_levels().free_frames; }

}  // namespace

TEST(magazine, serves_the_last_block_first_without_the_zone) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const FrameNumber one = physical.allocate(kSingle).take();
  const FrameNumber two = physical.allocate(kSingle).take();
  const std::uint64_t zone = in_zones(world);
  EXPECT(cached(world) > 0);
  EXPECT(physical.release(one, kSingle).ok());
  EXPECT(physical.release(two, kSingle).ok());
  EXPECT_EQ(world->frames()[two].state(), FrameState::cached);
  EXPECT_EQ(physical.allocate(kSingle).take(), two);
  EXPECT_EQ(physical.allocate(kSingle).take(), one);
  EXPECT_EQ(in_zones(world), zone);
  EXPECT(world->manager().valid());
}

TEST(magazine, an_order_is_cached_where_two_blocks_are_a_64th_of_the_zone_or_less) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  for (unsigned order = 0; order <= config::max_order - 1; ++order) {
    const Order size{static_cast<std::uint8_t>(order)};
    const auto block = physical.allocate(size);
    ASSERT(block.ok());
    ASSERT(physical.release(block.take(), size).ok());
    EXPECT_EQ(world->frames()[block.take()].state(), order <= 5 ? FrameState::cached : FrameState::managed);
  }
  EXPECT(world->manager().valid());
}

// Whatever the order of calls, a trip to the zone comes at most once in `limit` of them.
TEST(magazine, a_trip_to_the_zone_is_paid_back_before_the_next) {
  static std::array<FrameNumber, 512> held;
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  for (FrameNumber& frame : held) frame = physical.allocate(kSingle).take();
  const std::uint64_t limit = pair_of(world, kSingle).limit;
  EXPECT(limit >= 4 && limit <= SmallMagazine::kBlocks);
  unsigned trips = 0;
  std::uint64_t zone = in_zones(world);
  for (unsigned n = 0; n < 1000; ++n) {  // up and down over the edge between two magazines
    ASSERT(physical.release(held[0], kSingle).ok());
    ASSERT(physical.release(held[1], kSingle).ok());
    held[0] = physical.allocate(kSingle).take();
    held[1] = physical.allocate(kSingle).take();
    trips += in_zones(world) != zone;
    zone = in_zones(world);
  }
  EXPECT(trips <= 4000 / limit);
  for (const FrameNumber frame : held) ASSERT(physical.release(frame, kSingle).ok());
  EXPECT(cached(world) <= 2 * pair_of(world, kSingle).limit);
  EXPECT(world->manager().valid());
}

TEST(magazine, grows_with_use_and_starts_over_after_a_drain) {
  static constexpr PhysRange kLarge[] = {frames(0, 4096)};
  static std::array<FrameNumber, 600> held;
  World world({.memory = kLarge});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const std::uint64_t first = pair_of(world, Order{1}).limit;
  for (FrameNumber& frame : held) frame = physical.allocate(Order{1}).take();
  EXPECT_EQ(pair_of(world, Order{1}).limit, pair_of(world, Order{1}).most);
  for (const FrameNumber frame : held) ASSERT(physical.release(frame, Order{1}).ok());
  const std::uint64_t kept = cached(world);
  EXPECT(kept > 0);
  EXPECT_EQ(physical.drain(), kept);
  EXPECT_EQ(cached(world), 0u);
  EXPECT_EQ(physical.drain(), 0u);
  EXPECT(pair_of(world, Order{1}).limit <= first);
  const auto blocks = physical.free_blocks();
  EXPECT_EQ(blocks[11], 2u);
  EXPECT(world->manager().valid());
}

TEST(magazine, a_cache_that_is_taken_is_gone_around) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const FrameNumber early = physical.allocate(kSingle).take();
  const std::uint64_t kept = cached(world);
  auto& cache = const_cast<FrameCache&>(physical.caches().all()[0]);
  ASSERT(cache.taken.try_acquire());  // as an interrupt handler finds it
  const std::uint64_t zone = in_zones(world);
  const auto frame = physical.allocate(kSingle);
  ASSERT(frame.ok());
  EXPECT_EQ(in_zones(world), zone - 1);
  EXPECT(physical.release(early, kSingle).ok());
  EXPECT_EQ(in_zones(world), zone);
  EXPECT_EQ(physical.drain(), 0u);
  EXPECT_EQ(cached(world), kept);
  cache.taken.release();
  EXPECT(physical.drain() > 0);
  EXPECT(physical.release(frame.take(), kSingle).ok());
  EXPECT(world->manager().valid());
}

// What other CPUs keep is not lost for a request that finds the zone empty.
TEST(magazine, the_last_block_comes_out_of_another_cpus_magazine) {
  static std::array<FrameNumber, 4096> held;
  World world({.memory = kMemory, .cpus = 2});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  unsigned count = 0;
  for (auto frame = physical.allocate(kSingle, Gfp::atomic); frame.ok();
       frame = physical.allocate(kSingle, Gfp::atomic))
    held[count++] = frame.take();
  EXPECT_EQ(count, 4096u);
  ASSERT(physical.release(held[--count], kSingle).ok());
  EXPECT_EQ(cached(world), 1u);
  EXPECT_EQ(in_zones(world), 0u);
  memory::PerCpu* const former = unit::stand_on(&world->cpu(1));
  const auto last = physical.allocate(kSingle, Gfp::atomic);
  unit::stand_on(former);
  ASSERT(last.ok());
  EXPECT_EQ(last.take(), held[count]);
  EXPECT_EQ(physical.allocate(kSingle, Gfp::atomic).error(), Error::no_memory);
}

TEST(magazine, a_large_request_gets_what_magazines_broke_up) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const FrameNumber small = physical.allocate(kSingle).take();
  ASSERT(physical.allocate(Order{11}, Gfp::atomic).ok());
  ASSERT(physical.release(small, kSingle).ok());
  const auto blocks = physical.free_blocks();
  EXPECT(blocks[11] == 0 && cached(world) > 0);
  EXPECT(physical.allocate(Order{11}, Gfp::atomic).ok());
  EXPECT_EQ(world->counter(Counter::frame_failures), 0);
}

TEST(magazine, misuse_is_found_while_a_block_is_cached) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const FrameNumber block = physical.allocate(Order{2}).take();
  ASSERT(physical.release(block, Order{2}).ok());
  EXPECT_EQ(physical.release(block, Order{2}).error(), Error::double_free);
  EXPECT_EQ(physical.release(block, Order{1}).error(), Error::double_free);
  EXPECT_EQ(physical.release(block + 1, kSingle).error(), Error::interior_free);
  const FrameNumber shared = physical.allocate(kSingle).take();
  world->frames()[shared].uses.fetch_add(Frame::kReference);
  EXPECT_EQ(physical.release(shared, kSingle).error(), Error::shared_free);
  world->frames()[shared].uses.fetch_sub(Frame::kReference);
  world->frames()[shared].uses.fetch_add(Frame::kMapping);
  EXPECT_EQ(physical.release(shared, kSingle).error(), Error::shared_free);
  world->frames()[shared].uses.fetch_sub(Frame::kMapping);
  EXPECT(physical.release(shared, kSingle).ok());
}

TEST(magazine, an_overwritten_entry_stops_the_machine) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const FrameNumber held = physical.allocate(kSingle).take();
  Magazine& loaded = *pair_of(world, kSingle).loaded;
  ASSERT(loaded.count > 1);
  loaded.blocks()[loaded.count - 1] = raw(held);
  EXPECT(!world->manager().valid());
  EXPECT_PANIC((void)physical.allocate(kSingle), "cached");
}

TEST(magazine, a_block_put_in_twice_stops_the_machine) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const FrameNumber held = physical.allocate(kSingle).take();
  ASSERT(physical.release(held, kSingle).ok());
  Magazine& loaded = *pair_of(world, kSingle).loaded;
  loaded.blocks()[loaded.count] = raw(held);
  ++loaded.count;
  EXPECT_EQ(physical.allocate(kSingle).take(), held);
  EXPECT_PANIC((void)physical.allocate(kSingle), "cached");
}

TEST(magazine, valid_finds_what_is_wrong) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  (void)world->physical().allocate(kSingle);
  auto& pair = const_cast<MagazinePair&>(pair_of(world, kSingle));
  ASSERT(world->manager().valid() && pair.loaded->count > 0);
  std::swap(pair.loaded, pair.previous);
  EXPECT(world->manager().valid());
  Magazine* const other = pair.loaded;
  pair.loaded = pair.previous;
  EXPECT(!world->manager().valid());
  pair.loaded = other;
  pair.previous->count += SmallMagazine::kBlocks;
  EXPECT(!world->manager().valid());
}

TEST(magazine, random_traffic_of_all_orders_comes_back_exactly) {
  static constexpr PhysRange kRange[] = {frames(3, 4000)};
  static struct {
    FrameNumber number;
    Order order;
  } held[4096];
  World world({.memory = kRange});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const auto blocks = physical.free_blocks();
  Random random{unit::seed()};
  unsigned count = 0;
  for (unsigned n = 0; n < 6000; ++n) {
    if (random.below(5) < 3 && count < 4096) {
      const Order order{static_cast<std::uint8_t>(random.below(5))};
      const auto block = physical.allocate(order, Gfp::atomic);
      if (block.ok()) held[count++] = {block.take(), order};
    } else if (count > 0) {
      const auto slot = random.below(count);
      ASSERT(physical.release(held[slot].number, held[slot].order).ok());
      held[slot] = held[--count];
    }
    if (n % 500 == 0) EXPECT(world->manager().valid());
    if (n % 700 == 0) physical.drain();
  }
  for (; count > 0; --count) ASSERT(physical.release(held[count - 1].number, held[count - 1].order).ok());
  EXPECT_EQ(physical.levels().free, physical.levels().managed);
  physical.quiesce();
  EXPECT(physical.free_blocks() == blocks);
  EXPECT_EQ(world->counter(Counter::frames_free), 3997);
  EXPECT_EQ(world->counter(Counter::frame_splits), world->counter(Counter::frame_merges));
  EXPECT(world->manager().valid());
}
