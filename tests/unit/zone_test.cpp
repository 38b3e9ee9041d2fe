// Zones and Physical over them: edges, levels, and the lock's promise that numbers are of one moment.
// SPDX-License-Identifier: MIT
#include "mm/physical/zone.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

TEST(zone, is_rounded_to_the_largest_block) {
  static constexpr PhysRange kMemory[] = {frames(2049, 2050), frames(4095, 4097)};
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const Zone& low = world->physical().zone(ZoneKind::dma);
  EXPECT_EQ(raw(low.first()), 2048u);
  EXPECT_EQ(raw(low.end()), 4096u);
  EXPECT(low.contains(FrameNumber{2048}) && low.contains(FrameNumber{4095}));
  EXPECT(!low.contains(FrameNumber{2047}) && !low.contains(FrameNumber{4096}));
  EXPECT_EQ(low.present_frames(), 2u);
  EXPECT_EQ(low.name(), "DMA");
  const Zone& next = world->physical().zone(ZoneKind::dma32);
  EXPECT_EQ(raw(next.first()), 4096u);
  EXPECT_EQ(raw(next.end()), 6144u);
  EXPECT_EQ(next.present_frames(), 1u);
  EXPECT(!world->physical().zone(ZoneKind::normal).populated());
  EXPECT(world->manager().valid());
}

TEST(zone, an_empty_range_widens_nothing) {
  static constexpr PhysRange kMemory[] = {frames(10, 20), frames(4000, 4000)};
  World world({.memory = kMemory});
  ASSERT(world.ok());
  EXPECT_EQ(raw(world->physical().zone(ZoneKind::dma).end()), 2048u);
}

TEST(zone, takes_no_memory_from_outside) {
  static constexpr PhysRange kMemory[] = {frames(2048, 2100)};
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Zone& zone = world->physical().zone(ZoneKind::dma);
  EXPECT_PANIC(zone.donate(frames(2047, 2049)), "contains");
  EXPECT_PANIC(zone.donate(frames(4090, 4097)), "end()");
}

TEST(zone, its_name_must_fit) {
  World world({.memory = {}});
  static constexpr PhysRange kMemory[] = {frames(0, 1)};
  World small({.memory = kMemory});
  ASSERT(!world.ok() && small.ok());
  EXPECT_PANIC(Zone(small->frames(), "sixteen letters!"), "name");
}

TEST(zone, levels_follow_every_block) {
  static constexpr PhysRange kMemory[] = {frames(0, 2048)};
  static constexpr PhysRange kReserved[] = {frames(0, 16)};
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  const auto expect = [&](std::uint64_t free) {
    const PhysicalLevels levels = physical.levels();
    EXPECT_EQ(levels.present, 2048u);
    EXPECT_EQ(levels.managed, 2032u);
    EXPECT_EQ(levels.reserved, 16u);
    EXPECT_EQ(levels.free, free);
    EXPECT_EQ(physical.zone_levels().free_frames + levels.cached, free);
    EXPECT_EQ(world->counter(stats::Counter::frames_free) + static_cast<std::int64_t>(levels.cached),
              static_cast<std::int64_t>(free));
  };
  expect(2032);
  const auto three = physical.allocate(Order{3});
  ASSERT(three.ok());
  expect(2024);
  const auto nine = physical.allocate(Order{9});
  ASSERT(nine.ok());
  expect(1512);
  EXPECT_EQ(physical.release(three.take(), Order{3}).error(), Error::ok);
  expect(1520);
  EXPECT_EQ(physical.release(nine.take(), Order{9}).error(), Error::ok);
  expect(2032);
}
