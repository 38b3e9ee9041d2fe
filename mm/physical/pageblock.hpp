// Pageblock: 512 frames (2 MiB) as one bit each, a binary buddy system whose free lists are patterns of bits.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <type_traits>

#include "mm/base/bits.hpp"
#include "mm/base/types.hpp"

namespace memory {

// All fields under the zone's lock. Takes no lock, allocates nothing. Cleared bytes are a pageblock without
// any free frame, on no list. Positions are frame numbers within the pageblock, 0 .. 511.
struct Pageblock {
  static constexpr unsigned kFrames = 512;
  static constexpr unsigned kWholeOrder = 9;  // a block of this order is one pageblock
  static constexpr std::uint8_t kNoList = 0;
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  std::array<std::uint64_t, 8> free;  // bit i of word w: frame 64 w + i is free
  std::uint64_t runs;  // how many free blocks of each order there are, packed, or kUncounted (P2)
  std::uint16_t free_frames;
  std::uint8_t list;         // 1 + the Buddy's list that it is on, or kNoList
  std::uint8_t whole_order;  // on a whole list: order of the free block that it heads
  std::uint32_t prev;        // pageblock numbers; meaningful while on a list
  std::uint32_t next;
  std::uint8_t unused[44];

  // What `runs` says while frames come and go one by one and nobody needs to know what they merge to: one block of
  // order 9, which a pageblock that is not wholly free cannot have.
  static constexpr std::uint64_t kUncounted = std::uint64_t{1} << 45;
  bool uncounted() const { return runs == kUncounted && free_frames != kFrames; }

  // Number of free blocks of that order, 0 .. 9. Of an uncounted pageblock each free frame is a block.
  unsigned free_blocks(unsigned order) const;
  // Of all orders.
  unsigned free_blocks() const;
  // Order of the largest free block; 9 when it is uncounted. Precondition: free_frames > 0.
  unsigned largest() const;

  // Takes a block of 2^order frames; its position. Splits the smallest block that is large enough and keeps
  // the low half each time; `splits` counts. Precondition: order <= 8, largest() >= order; not uncounted.
  unsigned take(unsigned order, unsigned& splits);

  // Gives a block back and merges it as far as this pageblock goes; `merges` counts.
  // Precondition: order <= 8, position is a multiple of 2^order, all_taken(position, order); not uncounted.
  void give(unsigned position, unsigned order, unsigned& merges);

  // From here on what is free is single frames, and what comes does not merge, until recount() or until every frame is
  // free. Returns how many blocks that are more. Precondition: take_singles() or give_unmerged() follows.
  unsigned stop_counting();
  // Takes up to `wanted` single frames, the lowest first, and calls body(position) for each; how many. Precondition:
  // stop_counting() came before, wanted > 0.
  template <typename Body>
  [[gnu::always_inline]] unsigned take_singles(unsigned wanted, Body&& body) {
    unsigned left = wanted;
    for (unsigned w = 0; w < free.size() && left > 0; ++w) {
      std::uint64_t word = free[w];
      for (; word != 0 && left > 0; word &= word - 1, --left) body(w * 64 + lowest_bit(word));
      free[w] = word;
    }
    free_frames = static_cast<std::uint16_t>(free_frames - (wanted - left));
    if (free_frames == 0) runs = 0;
    return wanted - left;
  }
  // Gives a block back without merging it. Precondition: as give(), but stop_counting() came before.
  [[gnu::always_inline]] void give_unmerged(unsigned position, unsigned order) {
    fill(position, order);
    free_frames = static_cast<std::uint16_t>(free_frames + (1u << order));
  }

  // All 512 frames at once. Precondition: every frame is free, or none is, respectively.
  void take_whole();
  void give_whole();

  bool is_free(unsigned position) const { return free[position / 64] >> position % 64 & 1; }
  // No frame of the aligned block is free; order <= 8.
  bool all_taken(unsigned position, unsigned order) const;

  // Marks [position, position + frames) free without merging counts; recount() must follow. For donation.
  void mark_free(unsigned position, unsigned frames);
  // Derives runs and free_frames from the bits.
  void recount();
  // P1 and P2: the derived fields agree with the bits.
  bool valid() const;

 private:
  // A block of order n at position 0 of its word; above order 6 in each of its words.
  static constexpr std::uint64_t kBlock[] = {
      1, 3, 0xf, 0xff, 0xffff, 0xffff'ffff, ~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0}};
  static constexpr unsigned words_in(unsigned order) { return order <= 6 ? 1 : 1u << (order - 6); }

  void fill(unsigned position, unsigned order) {
    free[position / 64] |= kBlock[order] << position % 64;
    for (unsigned w = 1; w < words_in(order); ++w) free[position / 64 + w] = ~std::uint64_t{0};
  }
  unsigned find(unsigned order) const;
  unsigned free_order_around(unsigned position) const;
};
static_assert(sizeof(Pageblock) == 128 && std::is_trivially_copyable_v<Pageblock>);

}  // namespace memory
