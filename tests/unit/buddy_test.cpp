// The Buddy: what it hands out, from where, what comes back, donation, counters. Its proofs are in buddy_proof_test.cpp,
// what it refuses and what stops the machine in buddy_misuse_test.cpp, single frames in single_frames_test.cpp.
// SPDX-License-Identifier: MIT
#include "tests/unit/buddy_world.hpp"

using namespace unit::buddy;
using unit::frames;
using unit::World;

TEST(buddy, splits_down_and_merges_back_exactly) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(shape(world), kOneOfOrder11);
  for (unsigned order = 0; order < kOrders; ++order) {
    const std::int64_t splits = world->counter(Counter::frame_splits);
    const std::int64_t merges = world->counter(Counter::frame_merges);
    const FrameNumber number = take(world, order);
    EXPECT_EQ(raw(number), 0u);  // the low half is kept each time
    // One block of every order from the one taken up to 10 is left.
    EXPECT_EQ(shape(world), order == 11 ? 0 : (low_bits(44) & ~low_bits(4 * order)) & 0x1111'1111'1111);
    EXPECT_EQ(world->counter(Counter::frame_splits) - splits, std::int64_t{11} - order);
    EXPECT(world->manager().valid());
    EXPECT_EQ(give(world, number, order), Error::ok);
    EXPECT_EQ(world->counter(Counter::frame_merges) - merges, std::int64_t{11} - order);
    EXPECT_EQ(shape(world), kOneOfOrder11);
  }
}

TEST(buddy, hands_out_aligned_blocks_with_their_order_and_one_reference) {
  World world({.memory = kTwoRuns, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  for (unsigned order = 0; order < kOrders; ++order) {
    const auto got = world->physical().allocate(order_of(order), Gfp::atomic);
    ASSERT(got.ok());
    const Frame& frame = world->frames()[got.take()];
    EXPECT_EQ(raw(world->frames().number_of(frame)) % (1u << order), 0u);
    EXPECT_EQ(frame.state(), FrameState::allocated);
    EXPECT_EQ(frame.order(), order_of(order));
    EXPECT_EQ(frame.references(), 1u);
    EXPECT(world->manager().valid());
  }
}

// |aaaaaaaab.ccddddeeee...| : the smallest block that is large enough serves, without a split where it is
// exact.
TEST(buddy, takes_the_best_fit_inside_a_pageblock) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(take_raw(world, 3), 0u);
  EXPECT_EQ(take_raw(world, 0), 8u);
  const std::int64_t splits = world->counter(Counter::frame_splits);
  EXPECT_EQ(take_raw(world, 1), 10u);
  EXPECT_EQ(take_raw(world, 2), 12u);
  EXPECT_EQ(take_raw(world, 4), 16u);
  EXPECT_EQ(take_raw(world, 0), 9u);
  EXPECT_EQ(take_raw(world, 6), 64u);
  EXPECT_EQ(world->counter(Counter::frame_splits), splits);
  EXPECT_EQ(take_raw(world, 4), 32u);  // breaks the block of order 5
  EXPECT_EQ(world->counter(Counter::frame_splits), splits + 1);
  EXPECT(world->manager().valid());
}

TEST(buddy, fills_the_fullest_pageblock_first) {
  World world({.memory = kTwoRuns, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  // Three partly free pageblocks: with one, two and three quarters taken.
  FrameNumber quarters[12];
  for (FrameNumber& quarter : quarters) quarter = take(world, 7);
  for (const unsigned back : {1, 2, 3, 6, 7, 11}) EXPECT_EQ(give(world, quarters[back], 7), Error::ok);
  const unsigned fullest = raw(quarters[8]) / kBlock;
  const unsigned middle = raw(quarters[4]) / kBlock;
  const unsigned emptiest = raw(quarters[0]) / kBlock;
  EXPECT(fullest != middle && middle != emptiest && fullest != emptiest);
  bool in_place = true;
  for (unsigned n = 0; n < 128; ++n) in_place = in_place && take_raw(world, 0) / kBlock == fullest;
  for (unsigned n = 0; n < 256; ++n) in_place = in_place && take_raw(world, 0) / kBlock == middle;
  for (unsigned n = 0; n < 384; ++n) in_place = in_place && take_raw(world, 0) / kBlock == emptiest;
  EXPECT(in_place);
  EXPECT(world->manager().valid());
  EXPECT(take_raw(world, 0) / kBlock > 2);  // only now a whole one is broken
}

TEST(buddy, prefers_a_partly_free_pageblock_that_fits_to_a_fuller_one_that_does_not) {
  World world({.memory = kTwoRuns, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  FrameNumber halves[4];
  for (FrameNumber& half : halves) half = take(world, 8);
  EXPECT_EQ(give(world, halves[1], 8), Error::ok);      // pageblock 0: upper half free
  EXPECT_EQ(give(world, halves[3], 8), Error::ok);      // pageblock 1: the same ...
  const unsigned broken = take_raw(world, 0) / kBlock;  // ... until one frame breaks one of the halves
  const unsigned other = broken ^ 1;
  EXPECT_EQ(take_raw(world, 8) / kBlock, other);
  EXPECT_EQ(take_raw(world, 7) / kBlock, broken);
}

TEST(buddy, takes_whole_runs_from_the_smallest_that_fits) {
  World world({.memory = kTwoRuns, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(shape(world), 2 * kOneOfOrder11);
  const FrameNumber nine = take(world, 9);
  EXPECT_EQ(shape(world), 0x1110'0000'0000u);
  const FrameNumber ten = take(world, 10);
  EXPECT_EQ(raw(ten), raw(nine) ^ 1024u);
  EXPECT_EQ(shape(world), 0x1010'0000'0000u);
  const FrameNumber beside = take(world, 9);
  EXPECT_EQ(raw(beside), raw(nine) ^ 512u);
  EXPECT_EQ(shape(world), kOneOfOrder11);
  const FrameNumber eleven = take(world, 11);
  EXPECT_EQ(shape(world), 0u);
  EXPECT(world->manager().valid());

  EXPECT_EQ(give(world, nine, 9), Error::ok);
  EXPECT_EQ(give(world, ten, 10), Error::ok);
  EXPECT_EQ(shape(world), 0x0110'0000'0000u);  // its buddy is still taken
  EXPECT(world->manager().valid());
  EXPECT_EQ(give(world, beside, 9), Error::ok);
  EXPECT_EQ(shape(world), kOneOfOrder11);
  EXPECT_EQ(give(world, eleven, 11), Error::ok);
  EXPECT_EQ(shape(world), 2 * kOneOfOrder11);  // 11 is the largest: two of them never merge
}

TEST(buddy, small_orders_break_the_smallest_whole_run) {
  World world({.memory = kTwoRuns, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber nine = take(world, 9);  // leaves runs of 9, 10 and 11
  const FrameNumber small = take(world, 4);
  EXPECT_EQ(raw(small) / kBlock, raw(nine) / kBlock ^ 1u);
  EXPECT_EQ(shape(world), 0x1101'1111'0000u);
  EXPECT(world->manager().valid());
}

// Pageblock 0 has a hole in the machine, 2 a reserved frame, 7 ends early: none of them is ever whole.
TEST(buddy, a_partly_absent_or_reserved_pageblock_is_never_whole) {
  static constexpr PhysRange kMemory[] = {frames(0, 300), frames(301, 7 * kBlock + 100)};
  static constexpr PhysRange kReserved[] = {frames(2 * kBlock + 77, 2 * kBlock + 78)};
  World world({.memory = kMemory, .reserved = kReserved, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT(world->manager().valid());
  EXPECT_EQ(shape(world) >> 36, 0x013u);  // whole are 1; 3; 4 and 5 together; 6
  for (const unsigned number : {1, 3, 6}) {
    const unsigned got = take_raw(world, 9) / kBlock;
    EXPECT(got == 1 || got == 3 || got == 6);
    (void)number;
  }
  EXPECT_EQ(take_raw(world, 10), 4 * kBlock);
  EXPECT_EQ(world->physical().allocate(Order{9}, Gfp::atomic).error(), Error::no_memory);
  EXPECT_EQ(take_raw(world, 8) % 256, 0u);
  unsigned count = 0;
  while (world->physical().allocate(Order{0}, Gfp::atomic).ok()) ++count;
  EXPECT_EQ(count, 511u + 511u + 100u - 256u);
  EXPECT_EQ(world->frames()[FrameNumber{300}].state(), FrameState::absent);
  EXPECT_EQ(world->frames()[FrameNumber{2 * kBlock + 77}].state(), FrameState::reserved);
  EXPECT(world->manager().valid());
}

TEST(buddy, gives_every_frame_once_and_then_no_memory) {
  static constexpr PhysRange kMemory[] = {frames(3, 2777)};
  static std::array<FrameNumber, 2777> held;
  static std::array<bool, 2777> seen;
  World world({.memory = kMemory, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const std::uint64_t before = unit::fingerprint(*world);
  const auto blocks = world->physical().free_blocks();
  seen.fill(false);
  unsigned count = 0;
  bool once = true;
  for (;;) {
    const auto frame = world->physical().allocate(Order{0}, Gfp::atomic);
    if (!frame.ok()) break;
    const unsigned number = raw(frame.take());
    once = once && number >= 3 && number < 2777 && !seen[number];
    seen[number] = true;
    held[count++] = FrameNumber{number};
  }
  EXPECT(once);
  EXPECT_EQ(count, 2774u);
  EXPECT_EQ(shape(world), 0u);
  EXPECT(world->manager().valid());
  for (unsigned order = 0; order < kOrders; ++order)
    EXPECT_EQ(world->physical().allocate(order_of(order), Gfp::atomic).error(), Error::no_memory);
  EXPECT_EQ(world->counter(Counter::frame_failures), std::int64_t{1} + kOrders);
  EXPECT_EQ(world->counter(Counter::frames_free), 0);

  Random random{unit::seed()};
  while (count > 0) {
    const auto slot = random.below(count);
    if (give(world, held[slot], 0) != Error::ok) unit::fail("not taken back", __FILE__, __LINE__);
    held[slot] = held[--count];
  }
  EXPECT(world->manager().valid());
  EXPECT(world->physical().free_blocks() == blocks);
  EXPECT_EQ(world->counter(Counter::frames_free), 2774);
  if (!config::poison_frames) EXPECT_EQ(unit::fingerprint(*world) != 0, before != 0);
}

TEST(buddy, every_order_can_take_all_that_it_fits) {
  static std::array<FrameNumber, 2048> held;
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  Random random{unit::seed()};
  for (unsigned order = 0; order < kOrders; ++order) {
    unsigned count = 0;
    while (count < 2048u >> order) held[count++] = take(world, order);
    EXPECT_EQ(world->physical().allocate(order_of(order), Gfp::atomic).error(), Error::no_memory);
    EXPECT(world->manager().valid());
    for (; count > 0; --count) {
      std::swap(held[random.below(count)], held[count - 1]);
      EXPECT_EQ(give(world, held[count - 1], order), Error::ok);
    }
    EXPECT_EQ(shape(world), kOneOfOrder11);
    EXPECT(world->manager().valid());
  }
}

// ---- donation ---------------------------------------------------------------------------------------------

TEST(buddy, donations_merge_across_each_other_and_count_no_traffic) {
  static constexpr PhysRange kReserved[] = {frames(0, 2048)};
  World world({.memory = kOneRun, .reserved = kReserved, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(shape(world), 0u);
  Zone& zone = world->physical().zone(ZoneKind::dma);
  zone.donate(frames(5, 700));
  // 5 | 6-7 | 8-15 | 16-31 | 32-63 | 64-127 | 128-255 | 256-511 | 512-639 | 640-671 | 672-687 | 688-695 |
  // 696-699
  EXPECT_EQ(shape(world), 0x1'2122'2111u);
  EXPECT(world->manager().valid());
  zone.donate(frames(700, 2048));
  EXPECT_EQ(shape(world), 0x0111'1111'1011u);
  EXPECT(world->manager().valid());
  zone.donate(frames(0, 3));
  zone.donate(frames(3, 5));
  EXPECT_EQ(shape(world), kOneOfOrder11);
  EXPECT(world->manager().valid());
  EXPECT_EQ(world->physical().levels().managed, 2048u);
  for (const Counter total : {Counter::frame_allocations, Counter::frame_releases, Counter::frame_splits,
                              Counter::frame_merges, Counter::frame_failures, Counter::frames_poisoned})
    EXPECT_EQ(world->counter(total), 0);
}

TEST(buddy, donates_beside_blocks_that_are_in_use) {
  static constexpr PhysRange kReserved[] = {frames(100, 2048)};
  World world({.memory = kOneRun, .reserved = kReserved, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber small = take(world, 5);
  world->physical().zone(ZoneKind::dma).donate(frames(100, 2048));
  EXPECT(world->manager().valid());
  EXPECT_EQ(give(world, small, 5), Error::ok);
  EXPECT_EQ(shape(world), kOneOfOrder11);
}

TEST(buddy, refuses_the_same_frames_twice) {
  static constexpr PhysRange kReserved[] = {frames(0, 2048)};
  World world({.memory = kOneRun, .reserved = kReserved, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  world->physical().zone(ZoneKind::dma).donate(frames(0, 64));
  EXPECT_PANIC(world->physical().zone(ZoneKind::dma).donate(frames(63, 65)), "reserved");
}

// ---- counters ---------------------------------------------------------------------------------------------

TEST(buddy, boot_leaves_the_totals_at_zero) {
  static constexpr PhysRange kMemory[] = {frames(1, 159), frames(256, 4000)};
  static constexpr PhysRange kReserved[] = {frames(300, 444)};
  World world({.memory = kMemory, .reserved = kReserved, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  for (const Counter total :
       {Counter::frame_allocations, Counter::frame_releases, Counter::frame_failures, Counter::frame_misuses,
        Counter::frame_splits, Counter::frame_merges, Counter::frames_poisoned, Counter::frames_early})
    EXPECT_EQ(world->counter(total), 0);
  EXPECT_EQ(world->counter(Counter::frames_present), 158 + 3744);
  EXPECT_EQ(world->counter(Counter::frames_managed), 158 + 3744 - 144);
  EXPECT_EQ(world->counter(Counter::frames_free), 158 + 3744 - 144);
}

// Every block comes from somewhere: a split makes one more, a merge one less, and so do release and
// allocation.
TEST(buddy, counters_balance_after_any_traffic) {
  static constexpr PhysRange kMemory[] = {frames(3, 4090)};
  static struct {
    FrameNumber number;
    unsigned order;
  } held[4096];
  World world({.memory = kMemory, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const auto free_blocks = [&] {
    std::int64_t sum = 0;
    for (const std::uint64_t blocks : world->physical().free_blocks())
      sum += static_cast<std::int64_t>(blocks);
    return sum;
  };
  const std::int64_t start = free_blocks();
  Random random{unit::seed()};
  unsigned count = 0;
  std::int64_t failures = 0;
  std::int64_t live_frames = 0;
  for (unsigned n = 0; n < 3000; ++n) {
    const unsigned order = lowest_bit(random.next() | 1u << config::max_order);
    if (random.below(5) < 3) {
      const auto frame = world->physical().allocate(order_of(order), Gfp::atomic);
      if (!frame.ok()) {
        ++failures;
        continue;
      }
      held[count++] = {frame.take(), order};
      live_frames += std::int64_t{1} << order;
    } else if (count > 0) {
      const auto slot = random.below(count);
      EXPECT_EQ(give(world, held[slot].number, held[slot].order), Error::ok);
      live_frames -= std::int64_t{1} << held[slot].order;
      held[slot] = held[--count];
    }
  }
  EXPECT(world->manager().valid());
  const auto counter = [&](Counter which) { return world->counter(which); };
  EXPECT_EQ(counter(Counter::frame_allocations) - counter(Counter::frame_releases), std::int64_t{count});
  EXPECT_EQ(counter(Counter::frame_failures), failures);
  EXPECT_EQ(world->physical().record().failures, static_cast<std::uint64_t>(failures));
  EXPECT_EQ(counter(Counter::frames_managed) - counter(Counter::frames_free), live_frames);
  EXPECT_EQ(free_blocks(), start + counter(Counter::frame_splits) - counter(Counter::frame_merges) -
                               counter(Counter::frame_allocations) + counter(Counter::frame_releases));
}
