// Pageblock: a binary buddy system in 512 bits.
// SPDX-License-Identifier: MIT
//
// Theory. A free block of order n in a binary buddy system is a run of 2^n free frames at a multiple of 2^n
// whose buddy (the run at the position with bit n flipped) is not wholly free: else the two would have
// merged. Kept as one bit a frame, blocks merge and split by themselves; there is nothing to link and nothing
// to unlink. Where a block lies is found by folding a word on itself n times:
//
//   word     ..1111 0110 1111      bit i: frame i is free
//   starts1  ..0101 0000 0101      runs of 2 at multiples of 2: w & w >> 1 & 0x5555
//   starts2  ..0001 0000 0001      runs of 4 at multiples of 4: s & s >> 2 & 0x1111
//
// A start of order n whose buddy's start is not set is a free block of exactly that order.
//
// How many there are of each order stands in one word. Of order n there are at most 256 >> n (the buddies of
// all of them are taken), which needs 9 - n bits; so the fields of orders 0-8 and one bit for a wholly free
// pageblock take 46 bits, and a split or a merge over any number of orders is one addition:
//
//   runs   9|8|77|666|5555|44444|333333|2222222|11111111|000000000
//          ^ bit 45                                       bit 0 ^
//
// Single frames, which most of memory is handed out as, need none of that: one is as good as another, and what they merge
// to matters to nobody until a larger block is asked for. So a pageblock that gives and takes them stops counting (a
// lazy buddy system: Lee and Barkley, "A watermark-based lazy buddy system", SOSP 1989) and is counted afresh then. It
// merges at once when its last frame comes back, which free_frames tells.
//
// Invariants, proved by valid():
//   P1  free_frames is the number of set bits
//   P2  the field n of runs is the number of free blocks of order n, or runs is kUncounted and some frames are free, but
//       not all
#include "mm/physical/pageblock.hpp"

#include "mm/base/platform.hpp"

namespace memory {

namespace {

constexpr unsigned kWordOrder = 6;  // 64 frames are one word
constexpr unsigned kWords = 8;

// Bits at multiples of 2^n.
constexpr std::uint64_t kMultiples[] = {~std::uint64_t{0},
                                        0x5555'5555'5555'5555,
                                        0x1111'1111'1111'1111,
                                        0x0101'0101'0101'0101,
                                        0x0001'0001'0001'0001,
                                        0x0000'0001'0000'0001,
                                        1};

// Starts of free runs of 2^order at multiples of 2^order. order <= 6, one word of frames; or order <= 3 over
// a word that has one bit for each of eight things.
constexpr std::uint64_t starts(std::uint64_t word, unsigned order) {
  for (unsigned n = 0; n < order; ++n) word &= word >> (1u << n) & kMultiples[n + 1];
  return word;
}

// Of the starts of one order, those whose buddy is not a start as well.
constexpr std::uint64_t alone(std::uint64_t all, unsigned order) {
  const unsigned distance = 1u << order;
  const std::uint64_t even = order < kWordOrder ? kMultiples[order + 1] : 1;
  const std::uint64_t pairs = all & all >> distance & even;
  return all & ~(pairs | pairs << distance);
}

// Order of the largest aligned block around `at` without a taken bit. Aligned blocks of 2^n are what shares
// all bits of its index but the lowest n, so the exclusive-or with the nearest taken bit on either side
// decides. Where a side has none, a guard bit beyond the word's end takes its part: no branch, because nobody
// could predict it. Precondition: `taken` has a bit, but not the one at `at`.
constexpr unsigned order_around(std::uint64_t taken, unsigned at) {
  const std::uint64_t below = taken & low_bits(at);
  const std::uint64_t above = taken ^ below;
  const unsigned down = at ^ (highest_bit(below << 1 | 1) - 1);
  const unsigned up = at ^ (lowest_bit(above >> 1 | std::uint64_t{1} << 63) + 1);
  return highest_bit(down < up ? down : up);
}

// One bit for each word that is wholly free.
constexpr std::uint64_t full_words(const std::array<std::uint64_t, kWords>& words) {
  std::uint64_t full = 0;
  for (unsigned w = 0; w < kWords; ++w) full |= std::uint64_t{words[w] == ~std::uint64_t{0}} << w;
  return full;
}

// Lowest bit of each order's field in `runs`; the last is the end.
constexpr std::uint8_t kField[] = {0, 9, 17, 24, 30, 35, 39, 42, 44, 45, 46};

// The order whose field a bit of `runs` lies in.
constexpr auto kOrderAt = [] {
  std::array<std::uint8_t, kField[10]> orders{};
  for (unsigned order = 0; order <= Pageblock::kWholeOrder; ++order)
    for (unsigned bit = kField[order]; bit < kField[order + 1]; ++bit)
      orders[bit] = static_cast<std::uint8_t>(order);
  return orders;
}();

// One block of each order below n.
constexpr auto kOneBelow = [] {
  std::array<std::uint64_t, Pageblock::kWholeOrder + 1> sums{};
  for (unsigned order = 0; order < Pageblock::kWholeOrder; ++order)
    sums[order + 1] = sums[order] + (std::uint64_t{1} << kField[order]);
  return sums;
}();

// What splitting one block of order n down to the end adds to `runs`: one of each order below, less itself.
constexpr auto kSplit = [] {
  std::array<std::uint64_t, Pageblock::kWholeOrder + 1> sums{};
  for (unsigned order = 0; order <= Pageblock::kWholeOrder; ++order)
    sums[order] = kOneBelow[order] - (std::uint64_t{1} << kField[order]);
  return sums;
}();

// What splitting one block of order `large` into one of order `small` adds to `runs`; merging subtracts it.
// The block of order `small` itself is not counted.
constexpr std::uint64_t halves(unsigned large, unsigned small) { return kSplit[large] - kOneBelow[small]; }

[[noreturn]] void panic_not_found() {
  platform::panic("a pageblock counts a free block that its bits do not have");
}

// The first block of exactly that order, below kWordOrder. A template, so that the folding has no loop.
template <unsigned order>
unsigned find_in_words(const std::array<std::uint64_t, kWords>& words) {
  for (unsigned w = 0; w < kWords; ++w) {
    if (words[w] == 0) continue;
    const std::uint64_t blocks = alone(starts(words[w], order), order);
    if (blocks != 0) return w * 64 + lowest_bit(blocks);
  }
  panic_not_found();
}

}  // namespace

// The position of the first free block of exactly that order. Precondition: there is one.
unsigned Pageblock::find(unsigned order) const {
  switch (order) {
    case 0: return find_in_words<0>(free);
    case 1: return find_in_words<1>(free);
    case 2: return find_in_words<2>(free);
    case 3: return find_in_words<3>(free);
    case 4: return find_in_words<4>(free);
    case 5: return find_in_words<5>(free);
    default: break;
  }
  const std::uint64_t blocks = alone(starts(full_words(free), order - kWordOrder), order - kWordOrder);
  if (blocks == 0) panic_not_found();
  return lowest_bit(blocks) * 64;
}

bool Pageblock::all_taken(unsigned position, unsigned order) const {
  const std::uint64_t block = kBlock[order] << position % 64;
  std::uint64_t found = free[position / 64] & block;
  for (unsigned w = 1; w < words_in(order); ++w) found |= free[position / 64 + w];
  return found == 0;
}

static_assert(Pageblock::kUncounted == std::uint64_t{1} << kField[Pageblock::kWholeOrder]);

unsigned Pageblock::free_blocks(unsigned order) const {
  if (uncounted()) return order == 0 ? free_frames : 0;
  return static_cast<unsigned>(runs >> kField[order] & low_bits(kField[order + 1] - kField[order]));
}

unsigned Pageblock::free_blocks() const {
  if (uncounted()) return free_frames;
  unsigned blocks = 0;
  for (unsigned order = 0; order <= kWholeOrder; ++order) blocks += free_blocks(order);
  return blocks;
}

unsigned Pageblock::largest() const { return kOrderAt[highest_bit(runs)]; }

unsigned Pageblock::take(unsigned order, unsigned& splits) {
  const unsigned larger = kOrderAt[kField[order] + lowest_bit(runs >> kField[order])];
  const unsigned position = larger == kWholeOrder ? 0 : find(larger);
  splits = larger - order;
  runs += halves(larger, order);
  free_frames = static_cast<std::uint16_t>(free_frames - (1u << order));
  free[position / 64] &= ~(kBlock[order] << position % 64);
  for (unsigned w = 1; w < words_in(order); ++w) free[position / 64 + w] = 0;
  return position;
}

void Pageblock::give(unsigned position, unsigned order, unsigned& merges) {
  fill(position, order);
  const unsigned merged = free_order_around(position);
  merges = merged - order;
  runs -= halves(merged, order);
  free_frames = static_cast<std::uint16_t>(free_frames + (1u << order));
}

unsigned Pageblock::stop_counting() {
  const unsigned more = free_frames - free_blocks();
  runs = kUncounted;
  return more;
}

unsigned Pageblock::free_order_around(unsigned position) const {
  const unsigned word = position / 64;
  if (free[word] != ~std::uint64_t{0}) return order_around(~free[word], position % 64);
  if (free[word ^ 1] != ~std::uint64_t{0}) return kWordOrder;
  const std::uint64_t taken = full_words(free) ^ low_bits(kWords);
  return taken == 0 ? kWholeOrder : kWordOrder + order_around(taken, word);
}

void Pageblock::take_whole() {
  free.fill(0);
  free_frames = 0;
  runs = 0;
}

void Pageblock::give_whole() {
  free.fill(~std::uint64_t{0});
  free_frames = kFrames;
  runs = std::uint64_t{1} << kField[kWholeOrder];
}

void Pageblock::mark_free(unsigned position, unsigned frames) {
  for (unsigned end = position + frames; position < end;) {
    const unsigned bit = position % 64;
    const unsigned count = end - position < 64 - bit ? end - position : 64 - bit;
    free[position / 64] |= low_bits(count) << bit;
    position += count;
  }
}

void Pageblock::recount() {
  unsigned set_bits = 0;
  runs = 0;
  for (const std::uint64_t word : free) {
    if (word == ~std::uint64_t{0}) set_bits += 64;
    if (word + 1 <= 1) continue;  // most are wholly free, or not at all
    unsigned count = popcount(word);
    set_bits += count;
    std::uint64_t all = word;
    for (unsigned order = 0; count != 0; ++order) {  // two starts of one order are one of the next
      all &= all >> (1u << order) & kMultiples[order + 1];
      const unsigned pairs = popcount(all);
      runs += std::uint64_t{count - 2 * pairs} << kField[order];
      count = pairs;
    }
  }
  free_frames = static_cast<std::uint16_t>(set_bits);
  if (free_frames == kFrames) return give_whole();
  const std::uint64_t full = full_words(free);
  for (unsigned order = kWordOrder; order < kWholeOrder; ++order)
    runs += std::uint64_t{popcount(alone(starts(full, order - kWordOrder), order - kWordOrder))}
            << kField[order];
}

bool Pageblock::valid() const {
  Pageblock derived = *this;
  derived.recount();
  return derived.free_frames == free_frames && (derived.runs == runs || (uncounted() && free_frames != 0));
}

}  // namespace memory
