// Pageblock: 512 frames (2 MiB) as one bit each, a binary buddy system whose free lists are patterns of bits.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <type_traits>

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
  std::uint64_t runs;                 // how many free blocks of each order there are, packed (P2)
  std::uint16_t free_frames;
  std::uint8_t list;         // 1 + the Buddy's list that it is on, or kNoList
  std::uint8_t whole_order;  // on a whole list: order of the free block that it heads
  std::uint32_t prev;        // pageblock numbers; meaningful while on a list
  std::uint32_t next;
  std::uint8_t unused[44];

  // Number of free blocks of that order, 0 .. 9.
  unsigned free_blocks(unsigned order) const;
  // Of all orders.
  unsigned free_blocks() const;
  // Order of the largest free block. Precondition: free_frames > 0.
  unsigned largest() const;

  // Takes a block of 2^order frames; its position. Splits the smallest block that is large enough and keeps
  // the low half each time; `splits` counts. Precondition: order <= 8, largest() >= order.
  unsigned take(unsigned order, unsigned& splits);

  // Gives a block back and merges it as far as this pageblock goes; `merges` counts.
  // Precondition: order <= 8, position is a multiple of 2^order, all_taken(position, order).
  void give(unsigned position, unsigned order, unsigned& merges);

  // Takes up to `wanted` single frames, whatever blocks they break, the lowest first; fills in their positions and
  // returns how many. Precondition: wanted > 0.
  unsigned take_singles(unsigned wanted, std::uint16_t* positions);

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
  unsigned find(unsigned order) const;
  unsigned free_order_around(unsigned position) const;
};
static_assert(sizeof(Pageblock) == 128 && std::is_trivially_copyable_v<Pageblock>);

}  // namespace memory
