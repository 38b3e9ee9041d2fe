// Bit arithmetic that inlines without help from libgcc, whose archive is not built for a kernel.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace memory {

// Number of set bits. (std::popcount becomes a call of __popcountdi2 where POPCNT is not promised.)
constexpr unsigned popcount(std::uint64_t word) {
  word -= word >> 1 & 0x5555'5555'5555'5555;
  word = (word & 0x3333'3333'3333'3333) + (word >> 2 & 0x3333'3333'3333'3333);
  word = (word + (word >> 4)) & 0x0f0f'0f0f'0f0f'0f0f;
  return static_cast<unsigned>(word * 0x0101'0101'0101'0101 >> 56);
}

// Index of the lowest set bit. Precondition: word != 0.
constexpr unsigned lowest_bit(std::uint64_t word) { return static_cast<unsigned>(__builtin_ctzll(word)); }

// Index of the highest set bit. Precondition: word != 0.
constexpr unsigned highest_bit(std::uint64_t word) {
  return 63 ^ static_cast<unsigned>(__builtin_clzll(word));  // not 63 - ...: this is one instruction
}

// The lowest `count` bits set; count is 0 .. 64.
constexpr std::uint64_t low_bits(unsigned count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

}  // namespace memory
