// The Buddy: releases that break their contract are named and change nothing; contradictions stop the machine.
// SPDX-License-Identifier: MIT
#include "tests/unit/buddy_world.hpp"

using namespace unit::buddy;
using unit::frames;
using unit::World;

TEST(buddy, refuses_orders_that_do_not_exist) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber number = take(world, 2);
  const std::uint64_t before = unit::fingerprint(*world);
  for (const unsigned order : {12, 13, 63, 64, 255}) {
    EXPECT_EQ(world->physical().allocate(order_of(order), Gfp::atomic).error(), Error::invalid);
    EXPECT_EQ(give(world, number, order), Error::invalid);
  }
  EXPECT_EQ(unit::fingerprint(*world), before);
  EXPECT_EQ(world->counter(Counter::frame_failures), 0);
  EXPECT_EQ(world->counter(Counter::frame_misuses), 0);
}

TEST(buddy, names_every_misuse_and_changes_nothing) {
  static constexpr PhysRange kMemory[] = {frames(0, 900), frames(901, 2048)};
  static constexpr PhysRange kReserved[] = {frames(1000, 1002)};
  World world({.memory = kMemory, .reserved = kReserved, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber three = take(world, 3);
  const FrameNumber nine = take(world, 9);
  const FrameNumber gone = take(world, 0);
  const FrameNumber gone_nine = take(world, 9);
  EXPECT_EQ(give(world, gone, 0), Error::ok);
  EXPECT_EQ(give(world, gone_nine, 9), Error::ok);
  const std::uint64_t before = unit::fingerprint(*world);
  const std::int64_t releases = world->counter(Counter::frame_releases);

  struct {
    FrameNumber number;
    unsigned order;
    Error error;
  } const cases[] = {
      {gone, 0, Error::double_free},
      {gone_nine, 9, Error::double_free},
      {three + 8, 0, Error::double_free},  // never handed out is as free as given back
      {three, 0, Error::wrong_order},
      {three, 2, Error::wrong_order},
      {three, 4, Error::wrong_order},
      {nine, 10, Error::wrong_order},
      {nine, 8, Error::wrong_order},
      {FrameNumber{900}, 0, Error::wild_free},   // a hole
      {FrameNumber{2048}, 0, Error::wild_free},  // past the end
      {FrameNumber{0x1234567}, 0, Error::wild_free},
      {FrameNumber{0x7fff'ffff}, 11, Error::wild_free},
      {kNoFrame, 3, Error::wild_free},
      {FrameNumber{1000}, 0, Error::reserved_free},
      {FrameNumber{1001}, 5, Error::reserved_free},
      {three + 1, 0, Error::interior_free},
      {three + 7, 3, Error::interior_free},
      {nine + 256, 8, Error::interior_free},
      {nine + 511, 0, Error::interior_free},
  };
  std::int64_t misuses = 0;
  for (const auto& misuse : cases) {
    EXPECT_EQ(give(world, misuse.number, misuse.order), misuse.error);
    EXPECT_EQ(world->counter(Counter::frame_misuses), ++misuses);
  }
  EXPECT_EQ(unit::fingerprint(*world), before);
  EXPECT_EQ(world->physical().record().misuses, static_cast<std::uint64_t>(misuses));
  EXPECT_EQ(world->counter(Counter::frame_releases), releases);
  EXPECT_EQ(give(world, three, 3), Error::ok);
  EXPECT_EQ(give(world, nine, 9), Error::ok);
}

// ---- contradictions stop the machine ----------------------------------------------------------------------

TEST(buddy, a_free_frame_in_use_stops_the_machine) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  world->frames()[FrameNumber{0}].set(FrameState::allocated);
  EXPECT_PANIC((void)world->physical().allocate(Order{0}, Gfp::atomic), "managed");
}

TEST(buddy, an_allocated_block_with_a_free_frame_stops_the_machine) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber three = take(world, 3);
  Pageblock& block = world->frames().block(raw(three) / kBlock);
  block.free[0] |= std::uint64_t{1} << 5;
  EXPECT_PANIC((void)give(world, three, 3), "all_taken");
}

TEST(buddy, a_whole_block_with_a_free_frame_stops_the_machine) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber ten = take(world, 10);
  world->frames().block(1).free_frames = 1;
  EXPECT_PANIC((void)give(world, ten, 10), "free_frames");
}

// Two pageblocks that are half free, on one list: 0, then 1. `last` is the other half of 0.
struct TwoLinked {
  World world{{.memory = kOneRun}};
  FrameNumber last{};

  TwoLinked() {
    if (!world.ok()) return;
    FrameNumber halves[4];
    for (FrameNumber& half : halves) half = take(world, 8);
    EXPECT_EQ(give(world, halves[2], 8), Error::ok);
    EXPECT_EQ(give(world, halves[0], 8), Error::ok);
    EXPECT_EQ(world->frames().block(0).next, 1u);
    last = halves[1];
  }
};

TEST(buddy, an_overwritten_next_link_stops_the_machine_before_it_is_followed) {
  // Far away, just beyond the end, and to a pageblock that is on no list.
  for (const std::uint32_t link : {0x00ff'ffffu, 4u, 3u}) {
    TwoLinked two;
    ASSERT(two.world.ok());
    two.world->frames().block(0).next = link;
    EXPECT_PANIC((void)give(two.world, two.last, 8), "CHECK");
  }
}

TEST(buddy, an_overwritten_prev_link_stops_the_machine_before_it_is_followed) {
  TwoLinked two;
  ASSERT(two.world.ok());
  two.world->frames().block(1).prev = 1;  // to itself
  EXPECT_PANIC((void)give(two.world, two.last, 8), "CHECK");
}

TEST(buddy, an_overwritten_head_stops_the_machine_before_it_is_followed) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber half = take(world, 8);
  BuddyLists& lists = lists_of(world);
  lists.heads[BuddyLists::kPartial + 1] = 3;  // pageblocks 2 and 3 are the run of order 10
  EXPECT_PANIC((void)world->physical().allocate(Order{10}), "CHECK");
  (void)half;
}

// A pageblock whose counts promise a block that its bits do not have.
TEST(buddy, counts_without_bits_stop_the_machine) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  (void)take(world, 0);
  Pageblock& block = world->frames().block(0);
  block.free.fill(0);
  EXPECT_PANIC((void)take(world, 3), "pageblock");
}
