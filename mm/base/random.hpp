// Random: a repeatable stream of numbers from a seed, the same in the kernel, on the host and in Python.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace memory {

// xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), its state
// filled by splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), which
// never gives the forbidden all-zero state. Not for secrets. Not synchronised: one stream, one user.
class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
      seed += 0x9e37'79b9'7f4a'7c15;
      std::uint64_t mixed = (seed ^ (seed >> 30)) * 0xbf58'476d'1ce4'e5b9;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d0'49bb'1331'11eb;
      word = mixed ^ (mixed >> 31);
    }
  }

  // Every 64-bit value is equally likely.
  constexpr std::uint64_t next() {
    const std::uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotate_left(state_[3], 45);
    return result;
  }

  // 0 .. end - 1, each equally likely. Precondition: end > 0. Lemire, "Fast random integer generation in an
  // interval", 2019: the upper half of next() * end, drawn again while the lower half is below 2^64 mod end.
  constexpr std::uint64_t below(std::uint64_t end) {
    Wide product = Wide{next()} * end;
    if (static_cast<std::uint64_t>(product) < end) {
      const std::uint64_t unfair = (0 - end) % end;
      while (static_cast<std::uint64_t>(product) < unfair) product = Wide{next()} * end;
    }
    return static_cast<std::uint64_t>(product >> 64);
  }

  // first .. last, both included. Precondition: first <= last.
  constexpr std::uint64_t between(std::uint64_t first, std::uint64_t last) {
    const std::uint64_t count = last - first + 1;  // 0: all of them
    return count == 0 ? next() : first + below(count);
  }

  // True once in `times` on average. Precondition: times > 0.
  constexpr bool one_in(std::uint64_t times) { return below(times) == 0; }

 private:
  __extension__ using Wide = unsigned __int128;
  static constexpr std::uint64_t rotate_left(std::uint64_t word, unsigned by) {
    return word << by | word >> (64 - by);
  }

  std::uint64_t state_[4]{};
};

}  // namespace memory
