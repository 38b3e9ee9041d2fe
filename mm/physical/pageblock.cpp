// Theory. A free block of order n in a binary buddy system is a run of 2^n free frames at a multiple of 2^n whose
// buddy (the run at the position with bit n flipped) is not wholly free: else the two would have merged. Kept as one
// bit a frame, blocks merge and split by themselves; there is nothing to link and nothing to unlink. What a list head
// would tell, runs[n] and `orders` tell; where the block lies is found by folding a word on itself n times:
//
//   word     ..1111 0110 1111      bit i: frame i is free
//   starts1  ..0101 0000 0101      runs of 2 at multiples of 2: w & w >> 1 & 0x5555
//   starts2  ..0001 0000 0001      runs of 4 at multiples of 4: s & s >> 2 & 0x1111
//
// A start of order n whose buddy's start is not set is a free block of exactly that order.
//
// Invariants, proved by valid():
//   P1  free_frames is the number of set bits
//   P2  runs[n] is the number of free blocks of order n; a pageblock that is wholly free has none of orders 0-8
//   P3  bit n of orders is set exactly when runs[n] > 0, bit 9 exactly when all 512 frames are free
#include "mm/physical/pageblock.hpp"

#include "mm/base/bits.hpp"

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

// Starts of free runs of 2^order at multiples of 2^order. order <= 6, one word of frames; or order <= 3 over a word
// that has one bit for each of eight things.
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

// One bit for each word that is wholly free.
constexpr std::uint64_t full_words(const std::array<std::uint64_t, kWords>& words) {
  std::uint64_t full = 0;
  for (unsigned w = 0; w < kWords; ++w) full |= std::uint64_t{words[w] == ~std::uint64_t{0}} << w;
  return full;
}

}  // namespace

unsigned Pageblock::find(unsigned order) const {
  if (order >= kWordOrder)
    return lowest_bit(alone(starts(full_words(free), order - kWordOrder), order - kWordOrder)) * 64;
  for (unsigned w = 0;; ++w) {
    if (free[w] == 0) continue;
    const std::uint64_t blocks = alone(starts(free[w], order), order);
    if (blocks != 0) return w * 64 + lowest_bit(blocks);
  }
}

void Pageblock::set(unsigned position, unsigned order) {
  if (order <= kWordOrder) {
    free[position / 64] |= low_bits(1u << order) << position % 64;
  } else {
    for (unsigned w = 0; w < 1u << (order - kWordOrder); ++w) free[position / 64 + w] = ~std::uint64_t{0};
  }
}

void Pageblock::clear(unsigned position, unsigned order) {
  if (order <= kWordOrder) {
    free[position / 64] &= ~(low_bits(1u << order) << position % 64);
  } else {
    for (unsigned w = 0; w < 1u << (order - kWordOrder); ++w) free[position / 64 + w] = 0;
  }
}

bool Pageblock::all_taken(unsigned position, unsigned order) const {
  if (order <= kWordOrder) return (free[position / 64] & low_bits(1u << order) << position % 64) == 0;
  for (unsigned w = 0; w < 1u << (order - kWordOrder); ++w)
    if (free[position / 64 + w] != 0) return false;
  return true;
}

bool Pageblock::all_free(unsigned position, unsigned order) const {
  if (order <= kWordOrder) {
    const std::uint64_t mask = low_bits(1u << order) << position % 64;
    return (free[position / 64] & mask) == mask;
  }
  for (unsigned w = 0; w < 1u << (order - kWordOrder); ++w)
    if (free[position / 64 + w] != ~std::uint64_t{0}) return false;
  return true;
}

void Pageblock::add_run(unsigned order) {
  ++runs[order];
  orders = static_cast<std::uint16_t>(orders | 1u << order);
}

void Pageblock::drop_run(unsigned order) {
  if (--runs[order] == 0) orders = static_cast<std::uint16_t>(orders & ~(1u << order));
}

unsigned Pageblock::take(unsigned order, unsigned& splits) {
  unsigned larger = lowest_bit(orders >> order) + order;
  unsigned position = 0;
  if (larger == kWholeOrder) {
    orders = 0;
  } else {
    position = find(larger);
    drop_run(larger);
  }
  splits = larger - order;
  while (larger > order) add_run(--larger);
  clear(position, order);
  free_frames = static_cast<std::uint16_t>(free_frames - (1u << order));
  return position;
}

void Pageblock::give(unsigned position, unsigned order, unsigned& merges) {
  unsigned merged = order;
  unsigned start = position;
  while (merged < kWholeOrder && all_free(start ^ 1u << merged, merged)) {
    drop_run(merged);
    start &= ~(1u << merged);
    ++merged;
  }
  merges = merged - order;
  set(position, order);
  free_frames = static_cast<std::uint16_t>(free_frames + (1u << order));
  if (merged == kWholeOrder) {
    orders = 1u << kWholeOrder;
  } else {
    add_run(merged);
  }
}

void Pageblock::take_whole() {
  free.fill(0);
  free_frames = 0;
  orders = 0;
}

void Pageblock::give_whole() {
  free.fill(~std::uint64_t{0});
  free_frames = kFrames;
  orders = 1u << kWholeOrder;
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
  free_frames = 0;
  runs.fill(0);
  orders = 0;
  for (const std::uint64_t word : free)
    free_frames = static_cast<std::uint16_t>(free_frames + popcount(word));
  if (free_frames == kFrames) {
    orders = 1u << kWholeOrder;
    return;
  }
  for (unsigned order = 0; order < kWordOrder; ++order)
    for (const std::uint64_t word : free)
      runs[order] = static_cast<std::uint16_t>(runs[order] + popcount(alone(starts(word, order), order)));
  const std::uint64_t full = full_words(free);
  for (unsigned order = kWordOrder; order < kWholeOrder; ++order)
    runs[order] =
        static_cast<std::uint16_t>(popcount(alone(starts(full, order - kWordOrder), order - kWordOrder)));
  for (unsigned order = 0; order < kWholeOrder; ++order)
    if (runs[order] > 0) orders = static_cast<std::uint16_t>(orders | 1u << order);
}

bool Pageblock::valid() const {
  Pageblock derived = *this;
  derived.recount();
  return derived.free_frames == free_frames && derived.orders == orders && derived.runs == runs;
}

}  // namespace memory
