// Single frames by the magazine: their pageblock stops counting, and is counted when somebody needs to know.
// SPDX-License-Identifier: MIT
#include "tests/unit/buddy_world.hpp"

using namespace unit::buddy;
using unit::frames;
using unit::World;

namespace {

constexpr unsigned kMost = kBlock + 100;
std::array<std::uint32_t, kMost> held;

Zone& zone_of(World& world) { return world->physical().zone(ZoneKind::dma); }

std::size_t take_singles(World& world, std::size_t count) {
  return zone_of(world).take_many(Order{0}, {held.data(), count}, 0);
}
void give_singles(World& world, std::size_t first, std::size_t end) {
  zone_of(world).give_many(Order{0}, {held.data() + first, end - first});
}

}  // namespace

TEST(single_frames, come_lowest_first_and_leave_their_pageblock_uncounted) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(take_singles(world, 100), 100u);
  for (unsigned n = 0; n < 100; ++n) EXPECT_EQ(held[n], n);
  EXPECT_EQ(world->frames()[FrameNumber{99}].state(), FrameState::cached);
  const Pageblock& block = world->frames().block(0);
  EXPECT(block.uncounted() && world->manager().valid());
  EXPECT_EQ(block.free_blocks(), kBlock - 100);
  EXPECT_EQ(world->counter(Counter::frame_splits), 2 + kBlock - 1);
  EXPECT_EQ(shape(world),
            0x0111'1001'1100u);  // what its free frames make, counted or not: 4 + 8 + 16 ... 256
  EXPECT_EQ(take(world, 0), FrameNumber{100});  // one more, the lowest again
  EXPECT(world->manager().valid());
}

TEST(single_frames, a_larger_request_has_the_fullest_pageblock_counted) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(take_singles(world, kMost), kMost);  // all of pageblock 0, a part of 1
  give_singles(world, 8, 25);                    // of 0: two of order 3 and a frame
  EXPECT(world->frames().block(0).uncounted() && world->frames().block(1).uncounted());
  EXPECT_EQ(take_raw(world, 3), 8u);
  EXPECT(!world->frames().block(0).uncounted() && world->frames().block(1).uncounted());
  EXPECT_EQ(take_raw(world, 4), kBlock + 112);  // 0 has none: now the next is counted, too
  EXPECT(!world->frames().block(1).uncounted());
  EXPECT(world->manager().valid());
}

TEST(single_frames, a_block_that_comes_back_to_an_uncounted_pageblock_does_not_merge_at_once) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber three = take(world, 3);
  EXPECT_EQ(take_singles(world, 10), 10u);
  EXPECT_EQ(give(world, three, 3), Error::ok);
  const Pageblock& block = world->frames().block(0);
  EXPECT(block.uncounted());
  EXPECT_EQ(block.free_blocks(), kBlock - 10);
  EXPECT(world->manager().valid());
  give_singles(world, 0, 10);
  EXPECT_EQ(shape(world), kOneOfOrder11);
  EXPECT_EQ(world->counter(Counter::frame_splits), world->counter(Counter::frame_merges));
}

TEST(single_frames, the_last_one_makes_its_pageblock_whole) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(take_singles(world, kMost), kMost);
  give_singles(world, 0, kMost - 1);
  EXPECT(!world->frames().block(0).uncounted());
  EXPECT_EQ(world->frames().block(0).free_blocks(Pageblock::kWholeOrder), 1u);
  EXPECT(world->frames().block(1).uncounted() && world->manager().valid());
  give_singles(world, kMost - 1, kMost);
  EXPECT_EQ(shape(world), kOneOfOrder11);
  EXPECT_EQ(world->counter(Counter::frame_splits), world->counter(Counter::frame_merges));
  EXPECT(world->manager().valid());
}

TEST(single_frames, quiesce_counts_what_never_becomes_whole) {
  static constexpr PhysRange kReserved[] = {frames(0, 1)};
  World world({.memory = kOneRun, .reserved = kReserved});
  ASSERT(world.ok());
  const std::uint64_t before = shape(world);
  for (unsigned n = 0; n < 40; ++n) held[n] = take_raw(world, 0);
  for (unsigned n = 0; n < 40; ++n) EXPECT_EQ(give(world, FrameNumber{held[n]}, 0), Error::ok);
  EXPECT(world->frames().block(0).uncounted());
  world->physical().quiesce();
  EXPECT(!world->frames().block(0).uncounted());
  EXPECT_EQ(shape(world), before);
  EXPECT_EQ(world->counter(Counter::frame_splits), world->counter(Counter::frame_merges));
  EXPECT(world->manager().valid());
}

TEST(single_frames, a_donation_beside_them_counts_only_what_they_merge_to) {
  static constexpr PhysRange kReserved[] = {frames(256, 512)};
  World world({.memory = kOneRun, .reserved = kReserved, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(take_singles(world, 64), 64u);
  zone_of(world).donate(kReserved[0]);
  EXPECT(!world->frames().block(0).uncounted() && world->manager().valid());
  give_singles(world, 0, 64);
  EXPECT_EQ(shape(world), kOneOfOrder11);
  // What was donated was one block, and made three more: 256 with 256, 512 with 512, 1024 with 1024.
  EXPECT_EQ(world->counter(Counter::frame_merges) - world->counter(Counter::frame_splits), 3);
}

TEST(single_frames, contradictions_stop_the_machine) {
  for (const unsigned what : {0u, 1u, 2u}) {
    World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
    ASSERT(world.ok());
    EXPECT_EQ(take_singles(world, 9), 9u);
    if (what == 0) {
      world->frames().block(0).free[0] |= 1;  // its bit says that it is free already
      EXPECT_PANIC(give_singles(world, 0, 1), "word");
    } else if (what == 1) {
      give_singles(world, 0, 1);
      EXPECT_PANIC(give_singles(world, 0, 1), "cached");
    } else {
      held[1] = 2048;  // of no zone that there is
      EXPECT_PANIC(give_singles(world, 1, 2), "numbers");
    }
  }
}
