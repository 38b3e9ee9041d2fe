// The Pageblock against a model that knows nothing of bit tricks: 512 booleans and a recursion over halves.
// SPDX-License-Identifier: MIT
#include "mm/physical/pageblock.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;

namespace {

constexpr unsigned kFrames = Pageblock::kFrames;
constexpr unsigned kOrders = Pageblock::kWholeOrder + 1;

struct Model {
  bool free[kFrames];
  unsigned blocks[kOrders];  // free blocks of each order
  unsigned lowest[kOrders];  // position of the first of them

  void fill(bool value) {
    for (bool& frame : free) frame = value;
    count();
  }
  void set(unsigned position, unsigned frames, bool value) {
    for (unsigned n = 0; n < frames; ++n) free[position + n] = value;
  }
  bool all(unsigned position, unsigned order, bool value) const {
    for (unsigned n = 0; n < 1u << order; ++n)
      if (free[position + n] != value) return false;
    return true;
  }
  void count() {
    for (unsigned order = 0; order < kOrders; ++order) blocks[order] = 0, lowest[order] = kFrames;
    descend(0, Pageblock::kWholeOrder);
  }
  // A free aligned block whose parent is not wholly free: that is all a buddy system is.
  void descend(unsigned position, unsigned order) {
    if (all(position, order, true)) {
      ++blocks[order];
      if (position < lowest[order]) lowest[order] = position;
    } else if (order > 0) {
      descend(position, order - 1);
      descend(position + (1u << (order - 1)), order - 1);
    }
  }
  unsigned smallest_from(unsigned order) const {
    while (order < kOrders && blocks[order] == 0) ++order;
    return order;
  }
  unsigned order_of_block_around(unsigned position) const {
    unsigned order = Pageblock::kWholeOrder;
    while (!all(position & ~((1u << order) - 1), order, true)) --order;
    return order;
  }
  unsigned free_frames() const {
    unsigned frames = 0;
    for (const bool frame : free) frames += frame;
    return frames;
  }
};

Model model;
Pageblock block;

void start(bool whole) {
  block = Pageblock{};
  model.fill(whole);
  if (whole) block.give_whole();
}

bool agree() {
  bool same = block.free_frames == model.free_frames() && block.valid();
  for (unsigned position = 0; position < kFrames; ++position)
    same = same && block.is_free(position) == model.free[position];
  unsigned largest = 0;
  for (unsigned order = 0; order < kOrders; ++order) {
    same = same && block.free_blocks(order) == model.blocks[order];
    if (model.blocks[order] > 0) largest = order;
  }
  return same && (block.free_frames == 0 || block.largest() == largest);
}

// Takes a block and compares position and splits with the model; false when they differ.
bool take(unsigned order) {
  const unsigned larger = model.smallest_from(order);
  const unsigned expected = model.lowest[larger];
  unsigned splits = 99;
  const unsigned position = block.take(order, splits);
  model.set(expected, 1u << order, false);
  model.count();
  return position == expected && splits == larger - order;
}

bool give(unsigned position, unsigned order) {
  model.set(position, 1u << order, true);
  model.count();
  unsigned merges = 99;
  block.give(position, order, merges);
  return merges == model.order_of_block_around(position) - order;
}

}  // namespace

TEST(pageblock, cleared_bytes_have_nothing_free) {
  start(false);
  EXPECT(agree());
  EXPECT(block.all_taken(0, 8) && block.all_taken(256, 8));
}

TEST(pageblock, splits_lowest_half_first_and_merges_back) {
  for (unsigned order = 0; order < Pageblock::kWholeOrder; ++order) {
    start(true);
    EXPECT(take(order));
    EXPECT(agree());
    EXPECT_EQ(block.free_blocks(Pageblock::kWholeOrder), 0u);
    EXPECT(give(0, order));
    EXPECT(agree());
    EXPECT_EQ(block.largest(), Pageblock::kWholeOrder);
  }
}

TEST(pageblock, serves_every_position_of_every_order) {
  for (unsigned order = 0; order < Pageblock::kWholeOrder; ++order) {
    start(true);
    for (unsigned n = 0; n < kFrames >> order; ++n) EXPECT(take(order));
    EXPECT(agree());
    EXPECT_EQ(block.free_frames, 0u);
    // Back in an order that leaves as many lone blocks as there can be: even ones first.
    for (unsigned n = 0; n < kFrames >> order; n += 2) EXPECT(give(n << order, order));
    EXPECT(agree());
    EXPECT_EQ(block.free_blocks(order), kFrames >> (order + 1));
    for (unsigned n = 1; n < kFrames >> order; n += 2) EXPECT(give(n << order, order));
    EXPECT(agree());
    EXPECT_EQ(block.free_blocks(Pageblock::kWholeOrder), 1u);
  }
}

TEST(pageblock, follows_the_model_through_random_operations) {
  static struct {
    std::uint16_t position;
    std::uint8_t order;
  } held[kFrames];
  Random random{unit::seed()};
  for (unsigned round = 0; round < 4; ++round) {
    start(true);
    unsigned count = 0;
    bool same = true;
    for (unsigned n = 0; n < 400 && same; ++n) {
      const auto order = static_cast<unsigned>(random.below(round == 0 ? 3 : 9));
      const bool fits = model.smallest_from(order) < kOrders;
      if (fits && random.below(3) != 0) {
        const unsigned position = model.lowest[model.smallest_from(order)];
        same = take(order);
        held[count++] = {static_cast<std::uint16_t>(position), static_cast<std::uint8_t>(order)};
      } else if (count > 0) {
        const auto slot = random.below(count);
        same = give(held[slot].position, held[slot].order);
        held[slot] = held[--count];
      }
      same = same && agree();
    }
    EXPECT(same);
    while (count > 0 && same) --count, same = give(held[count].position, held[count].order);
    EXPECT(same && block.free_blocks(Pageblock::kWholeOrder) == 1);
  }
}

TEST(pageblock, takes_and_gives_single_frames_uncounted) {
  start(true);
  EXPECT_EQ(block.stop_counting(), kFrames - 1);
  unsigned next = 0;
  bool ascending = true;
  const auto in_order = [&](unsigned position) { ascending = ascending && position == next++; };
  EXPECT_EQ(block.take_singles(70, in_order), 70u);
  EXPECT(ascending && block.uncounted() && block.valid());
  EXPECT_EQ(block.free_frames, kFrames - 70);
  EXPECT_EQ(block.free_blocks(), kFrames - 70);
  EXPECT_EQ(block.free_blocks(0), kFrames - 70);
  EXPECT_EQ(block.largest(), Pageblock::kWholeOrder);
  block.give_unmerged(8, 3);
  block.give_unmerged(69, 0);
  model.set(0, 69, false);
  model.set(8, 8, true);
  model.count();
  EXPECT_EQ(block.stop_counting(), 0u);
  block.recount();
  EXPECT(agree());
  EXPECT_EQ(block.stop_counting(),
            model.free_frames() - 8);  // there were blocks of order 3, 0, 1, 3, 4, 5, 7, 8
}

TEST(pageblock, is_whole_with_its_last_frame_and_empty_without_any) {
  start(true);
  (void)block.stop_counting();
  EXPECT_EQ(block.take_singles(kFrames + 1, [](unsigned) {}), kFrames);
  EXPECT(!block.uncounted() && block.valid());
  (void)block.stop_counting();
  for (unsigned position = 0; position < kFrames; ++position) {
    EXPECT(position == 0 || block.uncounted());
    block.give_unmerged(position, 0);
  }
  EXPECT(!block.uncounted());
  model.fill(true);
  EXPECT(agree());
  start(false);
  block.runs = Pageblock::kUncounted;
  EXPECT(!block.valid());  // P2: it has nothing to count
}

TEST(pageblock, counts_any_pattern_of_donated_frames) {
  Random random{unit::seed()};
  for (unsigned round = 0; round < 24; ++round) {
    start(false);
    for (unsigned pieces = 0; pieces < 8; ++pieces) {
      const auto first = static_cast<unsigned>(random.below(kFrames));
      const auto frames = static_cast<unsigned>(random.between(1, kFrames - first));
      const unsigned some = frames > 90 && round % 2 == 0 ? 90 : frames;
      block.mark_free(first, some);
      model.set(first, some, true);
      block.recount();
      model.count();
      EXPECT(agree());
    }
  }
  start(false);
  block.mark_free(0, kFrames);
  block.recount();
  model.fill(true);
  EXPECT(agree());
}

TEST(pageblock, all_taken_sees_every_frame_of_the_block) {
  for (unsigned order = 0; order < Pageblock::kWholeOrder; ++order) {
    for (unsigned position = 0; position < kFrames; position += 1u << order) {
      start(false);
      EXPECT(block.all_taken(position, order));
      const unsigned last = position + (1u << order) - 1;
      block.mark_free(last, 1);
      EXPECT(!block.all_taken(position, order));
      EXPECT_EQ(block.all_taken(position ^ 1u << order, order), true);
    }
  }
}

TEST(pageblock, whole_at_once_is_every_frame) {
  start(true);
  EXPECT(agree());
  block.take_whole();
  model.fill(false);
  EXPECT(agree());
}

// P1 and P2: one wrong bit anywhere in what valid() proves is found.
TEST(pageblock, valid_finds_one_wrong_bit) {
  start(true);
  EXPECT(take(3) && take(0) && take(6));
  EXPECT(block.valid());
  for (unsigned bit = 0; bit < kFrames; ++bit) {
    block.free[bit / 64] ^= std::uint64_t{1} << bit % 64;
    EXPECT(!block.valid());  // P1: the sum is no longer right
    block.free[bit / 64] ^= std::uint64_t{1} << bit % 64;
  }
  for (unsigned bit = 0; bit < 64; ++bit) {
    block.runs ^= std::uint64_t{1} << bit;
    EXPECT(!block.valid());  // P2
    block.runs ^= std::uint64_t{1} << bit;
  }
  ++block.free_frames;
  EXPECT(!block.valid());  // P1
  --block.free_frames;
  EXPECT(block.valid());
}
