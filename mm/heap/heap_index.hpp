// HeapIndex: lists of free blocks by size, and the bitmaps that find one that fits in constant time.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>

#include "mm/base/bits.hpp"
#include "mm/heap/heap_block.hpp"

namespace memory {

// Two-level segregated fit (Masmano, Ripoll, Crespo and Real, "TLSF: a new dynamic memory allocator for real-time
// systems", ECRTS 2004). A size class is a power of two, or 2^kSplitBits equal steps of one:
//
//   granules   0 1 2 ...  63 | 64 65 .. 127 | 128 130 .. 254 | 256 260 .. | ...
//   list       0 1 2 ...  63 | 64 65 .. 127 | 128 129 .. 191 | 192 193 .. |
//
// so the lists of small blocks hold one size each, and those of large ones sizes that differ by less than 1/64. List
// numbers run on without a gap: 64 of them share a word, whose bits say which lists have blocks, and `summary` says
// which words are not 0. Standard layout.
struct HeapIndex {
  static constexpr unsigned kSplitBits = 6;
  static constexpr unsigned kSizeBits = 32;  // every block is smaller than 2^32 bytes
  static constexpr unsigned kGranuleBits = 4;
  static constexpr unsigned kWords = kSizeBits - kGranuleBits - kSplitBits + 1;
  static constexpr unsigned kLists = kWords << kSplitBits;
  static constexpr std::size_t kExactBytes = HeapBlock::kGranule
                                             << kSplitBits;  // below: a list for each size

  std::uint64_t summary = 0;
  std::array<std::uint64_t, kWords + 1> words{};  // the last stays 0: list_from() may say so
  std::array<std::uint64_t, kLists> heads{};      // addresses of blocks; 0 where the list is empty

  // The list that a free block of `bytes` belongs to.
  static constexpr std::size_t list_of(std::size_t bytes) {
    if (bytes < kExactBytes) [[likely]]
      return bytes / HeapBlock::kGranule;
    const unsigned shift = shift_of(bytes);
    return numbers_before(shift) + (bytes >> shift);
  }
  // The first list whose blocks all have `bytes` at least.
  static constexpr std::size_t list_from(std::size_t bytes) {
    if (bytes < kExactBytes) [[likely]]
      return bytes / HeapBlock::kGranule;
    const unsigned shift = shift_of(bytes);
    return numbers_before(shift) + ((bytes + (std::size_t{1} << shift) - 1) >> shift);
  }

  // Moves `list` on to the first one that has a block; false when none has.
  bool find(std::size_t& list) const {
    const std::size_t word = list >> kSplitBits;
    const std::uint64_t here = words[word] & ~std::uint64_t{0} << (list & 63);
    if (here != 0) [[likely]] {
      list = (list & ~std::size_t{63}) + lowest_bit(here);
      return true;
    }
    const std::uint64_t above = summary & ~std::uint64_t{1} << word;
    if (above == 0) [[unlikely]]
      return false;
    list = (std::size_t{lowest_bit(above)} << kSplitBits) + lowest_bit(words[lowest_bit(above)]);
    return true;
  }

  void set(std::size_t list) {
    words[list >> kSplitBits] |= std::uint64_t{1} << (list & 63);
    summary |= std::uint64_t{1} << (list >> kSplitBits);
  }
  void clear(std::size_t list) {
    const std::size_t word = list >> kSplitBits;
    words[word] &= ~(std::uint64_t{1} << (list & 63));
    if (words[word] == 0) summary &= ~(std::uint64_t{1} << word);
  }

 private:
  // For sizes from kExactBytes on: bytes >> shift is 64 .. 127.
  static constexpr unsigned shift_of(std::size_t bytes) { return highest_bit(bytes) - kSplitBits; }
  static constexpr std::size_t numbers_before(unsigned shift) {
    return (std::size_t{shift} << kSplitBits) - (std::size_t{kGranuleBits} << kSplitBits);
  }
};
static_assert(HeapIndex::kSplitBits == 6, "a word of 64 bits for each power of two");
static_assert(HeapBlock::kGranule == 1 << HeapIndex::kGranuleBits);

}  // namespace memory
