// The Buddy: valid() proves its invariants. Each is broken in every field that it is about, and noticed.
// SPDX-License-Identifier: MIT
#include "tests/unit/buddy_world.hpp"

using namespace unit::buddy;
using unit::frames;
using unit::World;

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
  EXPECT(noticed(world, free.uses, Frame::kReference));
  EXPECT(noticed(world, free.uses, Frame::kMapping));
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
