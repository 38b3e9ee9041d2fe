// The Buddy: what it hands out, from where, what it refuses, and that valid() proves its invariants.
// SPDX-License-Identifier: MIT
#include "mm/physical/buddy.hpp"

#include "mm/base/bits.hpp"
#include "mm/base/random.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using stats::Counter;
using unit::frames;
using unit::World;

namespace {

constexpr unsigned kOrders = config::max_order + 1;
constexpr unsigned kBlock = Pageblock::kFrames;

constexpr PhysRange kOneRun[] = {frames(0, 2048)};   // one block of order 11
constexpr PhysRange kTwoRuns[] = {frames(0, 4096)};  // two of them

constexpr Order order_of(unsigned order) { return Order{static_cast<std::uint8_t>(order)}; }

// Frame number of an allocation that must succeed.
FrameNumber take(World& world, unsigned order) {
  const auto frame = world->physical().allocate(order_of(order), Gfp::atomic);
  if (!frame.ok()) {
    unit::fail("an allocation found no memory", __FILE__, __LINE__);
    return kNoFrame;
  }
  return frame.take();
}
Error give(World& world, FrameNumber number, unsigned order) {
  return world->physical().release(number, order_of(order)).error();
}
unsigned take_raw(World& world, unsigned order) { return raw(take(world, order)); }

// Free blocks as "order 0, 1 ... 11" in one number, a hexadecimal digit each: 0x...0210 says one block of
// order 1 and two of order 2. Counts above 15 do not fit.
std::uint64_t shape(World& world) {
  std::uint64_t digits = 0;
  const auto blocks = world->physical().free_blocks();
  for (unsigned order = 0; order < kOrders; ++order)
    digits |= (blocks[order] < 16 ? blocks[order] : 15) << 4 * order;
  return digits;
}

constexpr std::uint64_t kOneOfOrder11 = 0x1000'0000'0000;

}  // namespace

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
    EXPECT_EQ(frame.references.load(), 1u);
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

// ---- the proofs -------------------------------------------------------------------------------------------

namespace {

// Puts `value` where `place` is, looks whether valid() notices, and puts back what was there.
template <typename T, typename Value>
bool noticed(World& world, T& place, Value value) {
  unsigned char saved[sizeof(T)];
  __builtin_memcpy(saved, &place, sizeof(T));
  const auto number = static_cast<std::uint64_t>(value);  // little-endian: its low bytes are the field
  static_assert(sizeof(T) <= sizeof number);
  __builtin_memcpy(static_cast<void*>(&place), &number, sizeof(T));
  const bool found = !world->manager().valid();
  __builtin_memcpy(static_cast<void*>(&place), saved, sizeof(T));
  return found && world->manager().valid();
}

BuddyLists& lists_of(World& world) {
  return const_cast<BuddyLists&>(*world->physical().zone(ZoneKind::dma).record().lists);
}

}  // namespace

TEST(buddy, valid_finds_every_broken_invariant) {
  static constexpr PhysRange kMemory[] = {frames(0, 4096 - 3)};
  static constexpr PhysRange kReserved[] = {frames(5, 6)};
  World world({.memory = kMemory, .reserved = kReserved, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber eleven = take(world, 10);
  const FrameNumber three = take(world, 3);
  FrameTable& table = world->frames();
  BuddyLists& lists = lists_of(world);
  ASSERT(world->manager().valid());

  // The pageblock that `three` lies in is partly free; find another partly free one and the head of a whole
  // run.
  const std::uint32_t partial = raw(three) / kBlock;
  std::uint32_t other = Pageblock::kNone;
  std::uint32_t whole = Pageblock::kNone;
  for (std::uint32_t n = 0; n < table.block_limit(); ++n) {
    const Pageblock& block = table.block(n);
    if (n != partial && block.free_frames > 0 && block.free_frames < kBlock) other = n;
    if (block.whole_order == 10) whole = n;
  }
  ASSERT(other != Pageblock::kNone && whole != Pageblock::kNone);
  Pageblock& block = table.block(partial);
  Pageblock& head = table.block(whole);
  Pageblock& inside = table.block(whole + 1);
  Pageblock& full = table.block(raw(eleven) / kBlock);
  const unsigned list = block.list - 1u;

  // B1
  EXPECT(noticed(world, block.free[7], block.free[7] ^ std::uint64_t{1} << 60));
  EXPECT(noticed(world, block.free_frames, block.free_frames - 1));
  EXPECT(noticed(world, block.runs, block.runs + 1));
  EXPECT(noticed(world, head.runs, 0u));
  // B2
  EXPECT(noticed(world, block.list, block.list + 1));
  EXPECT(noticed(world, block.list, 0));
  EXPECT(noticed(world, head.list, head.list + 1));
  EXPECT(noticed(world, head.whole_order, 9));
  EXPECT(noticed(world, head.whole_order, 0));
  EXPECT(noticed(world, block.whole_order, 9));
  EXPECT(noticed(world, inside.whole_order, 9));
  EXPECT(noticed(world, inside.list, 1));
  EXPECT(noticed(world, full.list, 1));
  EXPECT(noticed(world, full.whole_order, 9));
  // B3
  EXPECT(noticed(world, lists.nonempty, lists.nonempty ^ std::uint64_t{1} << list));
  EXPECT(noticed(world, lists.nonempty, lists.nonempty | 1));
  EXPECT(noticed(world, lists.nonempty, lists.nonempty | std::uint64_t{1} << 63));
  EXPECT(noticed(world, lists.heads[list], Pageblock::kNone));
  EXPECT(noticed(world, lists.heads[list], other));
  EXPECT(noticed(world, lists.heads[list], 0x00ff'ffffu));
  EXPECT(noticed(world, lists.heads[0], partial));
  EXPECT(noticed(world, block.prev, other));
  EXPECT(noticed(world, block.next, partial));
  EXPECT(noticed(world, block.next, 0x7fff'ffffu));
  EXPECT(noticed(world, head.next, whole));
  // B4
  EXPECT(noticed(world, lists.free_frames, lists.free_frames + 1));
  EXPECT(noticed(world, lists.managed_frames, lists.managed_frames - 1));
  // B5
  const auto state = [&](unsigned number) -> std::atomic<std::uint8_t>& {
    return table[FrameNumber{number}].state_order;
  };
  const auto as = [](FrameState say, unsigned order) {
    return static_cast<std::uint8_t>(static_cast<unsigned>(say) | order << 4);
  };
  EXPECT(noticed(world, state(raw(three)), as(FrameState::managed, 0)));
  EXPECT(noticed(world, state(raw(three)), as(FrameState::allocated, 2)));
  EXPECT(noticed(world, state(raw(three)), as(FrameState::allocated, 4)));
  EXPECT(noticed(world, state(raw(three)), as(FrameState::reserved, 0)));
  EXPECT(noticed(world, state(raw(three) + 1), as(FrameState::allocated, 0)));
  EXPECT(noticed(world, state(raw(three) + 1), as(FrameState::absent, 0)));
  EXPECT(noticed(world, state(raw(three) + 1), 7));
  EXPECT(noticed(world, state(raw(three) + 8), as(FrameState::allocated, 0)));
  EXPECT(noticed(world, state(raw(three) + 8), as(FrameState::reserved, 0)));
  EXPECT(noticed(world, state(raw(three) + 8), as(FrameState::managed, 1)));
  EXPECT(noticed(world, state(raw(eleven)), as(FrameState::allocated, 11)));
  EXPECT(noticed(world, state(raw(eleven)), as(FrameState::allocated, 9)));
  EXPECT(noticed(world, state(raw(eleven) + 512), as(FrameState::allocated, 9)));
  EXPECT(noticed(world, state(raw(eleven) + 700), as(FrameState::reserved, 0)));
  EXPECT(noticed(world, state(5), as(FrameState::managed, 0)));
  EXPECT(noticed(world, state(4095), as(FrameState::managed, 0)));
  Frame& free = table[three + 8];
  EXPECT(noticed(world, free.references, 1u));
  EXPECT(noticed(world, free.mappings, 1u));
  EXPECT(noticed(world, free.tag, 1));
  EXPECT(noticed(world, free.owner, 1u));
}

// B6, the one that takes three fields to break: two free buddies of order 9, each on the list of that order.
TEST(buddy, valid_finds_two_free_buddies_that_did_not_merge) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber nine = take(world, 9);
  EXPECT_EQ(raw(nine), 0u);
  FrameTable& table = world->frames();
  BuddyLists& lists = lists_of(world);
  EXPECT_EQ(give(world, nine, 9), Error::ok);  // one run of order 11: taken apart by hand into 9, 9 and 10
  Pageblock& first = table.block(0);
  const unsigned list9 = BuddyLists::kPartial;
  lists.heads[list9 + 2] = Pageblock::kNone;
  lists.heads[list9] = 0;
  lists.heads[list9 + 1] = 2;
  first.list = static_cast<std::uint8_t>(list9 + 1);
  first.whole_order = 9;
  first.prev = Pageblock::kNone;
  first.next = 1;
  table.block(1).list = first.list;
  table.block(1).whole_order = 9;
  table.block(1).prev = 0;
  table.block(1).next = Pageblock::kNone;
  table.block(2).list = static_cast<std::uint8_t>(list9 + 2);
  table.block(2).whole_order = 10;
  table.block(2).prev = table.block(2).next = Pageblock::kNone;
  EXPECT(!world->manager().valid());
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

// ---- poison -----------------------------------------------------------------------------------------------

// Under ASan the write itself is reported: tests/host/poison_test.cpp.
TEST(buddy, a_write_after_free_is_found_when_the_frame_is_handed_out) {
  if (!config::poison_frames || unit::kAddressSanitizer) return;
  static constexpr PhysRange kOneBlock[] = {frames(0, kBlock)};
  for (const unsigned offset : {0u, 7u, 4095u, 4096u, 32767u}) {
    World world({.memory = kOneBlock, .caching = FrameCaches::Service::off});
    ASSERT(world.ok());
    const FrameNumber three = take(world, 3);
    std::byte* const bytes = world->frames().open(three).bytes();
    EXPECT_EQ(give(world, three, 3), Error::ok);
    EXPECT_EQ(world->counter(Counter::frames_poisoned), 8);
    bytes[offset] ^= std::byte{1};
    EXPECT_PANIC((void)take(world, 3), "write after free");
  }
}

TEST(buddy, frames_that_were_never_freed_are_not_verified) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber three = take(world, 3);
  std::byte* const bytes = world->frames().open(three).bytes();
  bytes[0] = bytes[32767] = std::byte{0xaa};
  EXPECT_EQ(give(world, three, 3), Error::ok);
  EXPECT_EQ(raw(take(world, 4)), raw(three));  // half of it freed before, half never
  EXPECT_EQ(world->frames()[three].flags.load(), 0);
  EXPECT_EQ(world->frames()[three + 7].flags.load(), 0);
  bytes[32767] = std::byte{0xbb};  // ours again
  EXPECT_EQ(give(world, three, 4), Error::ok);
}
