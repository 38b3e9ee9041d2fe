// The FrameTable: sections, holes, and what it refuses to describe.
// SPDX-License-Identifier: MIT
#include "mm/physical/frames.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;

namespace {

constexpr unsigned kSpan = 2 * FrameMap::kFramesPerSection;  // two sections, 256 MiB of memory

// A table over cleared arrays for kSpan frames; there is no memory behind them.
FrameTable* bare_table() {
  const auto room =
      unit::storage(kSpan * sizeof(Frame) + kSpan / FrameMap::kFramesPerBlock * sizeof(Pageblock));
  if (room.empty()) return nullptr;
  __builtin_memset(room.data(), 0, room.size());
  auto* const frame = reinterpret_cast<Frame*>(room.data());
  return unit::fresh<FrameTable>(frame, reinterpret_cast<Pageblock*>(frame + kSpan), room.data(),
                                 PhysAddr{kSpan * kPageSize});
}

}  // namespace

TEST(frames, describes_what_was_added_and_nothing_else) {
  FrameTable* const table = bare_table();
  ASSERT(table != nullptr);
  EXPECT(!table->has(FrameNumber{0}));
  EXPECT_EQ(raw(table->limit()), 0u);
  table->add(frames(700, 701), 0);
  table->add(frames(FrameMap::kFramesPerSection - 1, FrameMap::kFramesPerSection + 3),
             0);  // over the edge of a section
  EXPECT_EQ(table->present_frames(), 5u);
  EXPECT_EQ(raw(table->limit()), FrameMap::kFramesPerSection + 512u);
  EXPECT_EQ(table->block_limit(), 65u);
  unsigned present = 0;
  for (std::uint32_t block = 0; block < 200; ++block) present += table->block_present(block);
  EXPECT_EQ(present, 3u);
  EXPECT(table->block_present(1) && table->block_present(63) && table->block_present(64));
  EXPECT(!table->has(FrameNumber{511}) && table->has(FrameNumber{512}) && table->has(FrameNumber{1023}));
  EXPECT(!table->has(FrameNumber{1024}) && !table->has(table->limit()) && !table->has(kNoFrame));
  for (unsigned number = 512; number < 1024; ++number) {
    const FrameState state = (*table)[FrameNumber{number}].state();
    EXPECT_EQ(state, number == 700 ? FrameState::reserved : FrameState::absent);
  }
  EXPECT_EQ(table->map().sections[0], std::uint64_t{1} << 63 | 2);
  EXPECT_EQ(table->map().sections[1], 1u);
}

TEST(frames, one_byte_says_whether_there_is_a_frame_and_whose_it_is) {
  FrameTable* const table = bare_table();
  ASSERT(table != nullptr);
  table->add(frames(700, 701), 0);
  table->add(frames(1024, 1030), 3);
  EXPECT_EQ(table->zone_place(FrameNumber{511}), 0u);
  EXPECT_EQ(table->zone_place(FrameNumber{512}), 1u);
  EXPECT_EQ(table->zone_place(FrameNumber{1535}), 4u);
  EXPECT_EQ(table->zone_place(FrameNumber{1536}), 0u);
  EXPECT_EQ(table->zone_place(kNoFrame), 0u);
  EXPECT_EQ(table->map().block_zone[2], 4u);
  EXPECT_PANIC(table->add(frames(1031, 1032), 1), "wanted");  // a pageblock lies in one zone
}

TEST(frames, ranges_may_share_a_pageblock_but_no_frame) {
  FrameTable* const table = bare_table();
  ASSERT(table != nullptr);
  table->add(frames(1, 10), 0);
  table->add(frames(10, 20), 0);
  EXPECT_EQ(table->present_frames(), 19u);
  EXPECT_PANIC(table->add(frames(19, 21), 0), "addable");
  (*table)[FrameNumber{25}].set(FrameState::reserved);  // which no range says
  EXPECT_PANIC(table->add(frames(20, 30), 0), "absent");
}

TEST(frames, refuses_parts_of_frames_and_memory_beyond_the_limit) {
  FrameTable* const table = bare_table();
  ASSERT(table != nullptr);
  EXPECT_PANIC(table->add({PhysAddr{0x1001}, PhysAddr{0x3000}}, 0), "addable");
  EXPECT_PANIC(table->add({PhysAddr{0x1000}, PhysAddr{0x3fff}}, 0), "addable");
  const std::uint64_t limit = config::max_memory_gib * 1_GiB;
  EXPECT_PANIC(table->add({PhysAddr{limit - kPageSize}, PhysAddr{limit + kPageSize}}, 0), "addable");
  EXPECT_EQ(table->present_frames(), 0u);
}

TEST(frames, numbers_and_records_are_each_others_inverse) {
  FrameTable* const table = bare_table();
  ASSERT(table != nullptr);
  table->add(frames(0, kSpan), 0);
  for (const unsigned number : {0u, 1u, 511u, 512u, 40'000u, kSpan - 1}) {
    EXPECT_EQ(raw(table->number_of((*table)[FrameNumber{number}])), number);
    EXPECT_EQ(table->number_of(table->block(number / 512)), number / 512);
    EXPECT_EQ(table->open(FrameNumber{number}).bytes() - table->open(FrameNumber{0}).bytes(),
              static_cast<std::ptrdiff_t>(number) * 4096);
  }
}

TEST(frames, a_frame_keeps_state_and_order_apart) {
  Frame frame{};
  EXPECT_EQ(frame.state(), FrameState::absent);
  for (unsigned order = 0; order <= config::max_order; ++order) {
    frame.set(FrameState::allocated, Order{static_cast<std::uint8_t>(order)});
    EXPECT_EQ(frame.state(), FrameState::allocated);
    EXPECT_EQ(raw(frame.order()), order);
  }
  frame.set(FrameState::managed);
  EXPECT_EQ(raw(frame.order()), 0u);
}

TEST(frames, says_twice_which_frames_are_not_absent) {
  FrameTable* const table = bare_table();
  ASSERT(table != nullptr);
  table->add(frames(700, 701), 0);
  table->add(frames(701, 900), 0);  // touches the first: one range
  table->add(frames(1000, 1024), 0);
  const FrameMap& map = table->map();
  EXPECT_EQ(map.ranges, 2u);
  EXPECT_EQ(map.range[0].first, 700u);
  EXPECT_EQ(map.range[0].end, 900u);
  EXPECT_EQ(map.range[1].first, 1000u);
  EXPECT_EQ(map.range[1].end, 1024u);
  EXPECT_EQ(map.range[2].end, 0u);
}
