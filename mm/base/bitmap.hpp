// Bitmap: ranges of bits over 64-bit words that it does not own.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "mm/base/result.hpp"

namespace memory {

// Bit i is bit i % 64 of word i / 64, so outside readers see a little-endian bit array. Bits of the last word
// beyond size() are never read or written. Not atomic: the map lives in the Guarded of what it describes.
// Every range must lie inside the map; a range that does not panics.
class Bitmap {
 public:
  enum class Bit : std::uint8_t { clear, set };
  static constexpr std::size_t words_for(std::size_t bits) { return bits / 64 + (bits % 64 != 0); }

  // A map of `bits` bits over the first words_for(bits) words, as they are. Panics when there are fewer.
  Bitmap(std::span<std::uint64_t> words, std::size_t bits);

  std::size_t size() const { return bits_; }

  bool test(std::size_t bit) const;
  void set(std::size_t first, std::size_t count = 1);
  void clear(std::size_t first, std::size_t count = 1);

  bool all(Bit value, std::size_t first, std::size_t count) const;  // true of no bits
  std::size_t count(Bit value, std::size_t first, std::size_t count) const;
  std::size_t count(Bit value) const { return count(value, 0, bits_); }

  // The first bit of that value at or after `from`; not_found when there is none.
  Result<std::size_t> find(Bit value, std::size_t from = 0) const;

  // The first run of `length` bits of that value that begins at a multiple of `alignment`, at or after
  // `from`. Preconditions: length > 0, alignment a power of two. Fails with not_found. O(size / 64 + runs).
  Result<std::size_t> find_run(Bit value, std::size_t length, std::size_t alignment = 1,
                               std::size_t from = 0) const;

 private:
  void check_inside(std::size_t first, std::size_t count) const;
  std::size_t next(Bit value, std::size_t from) const;  // size() when there is none

  std::uint64_t* words_;
  std::size_t bits_;
};

}  // namespace memory
