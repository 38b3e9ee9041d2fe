// Gfp: which memory a caller can use, and how much may be done to get it. KOS's names and values.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace memory {

// Flags, joined with |. A request names at least one.
enum class Gfp : std::uint8_t {
  kernel = 1,   // for the kernel: directly mapped memory, down to the zone's minimum
  atomic = 2,   // the same where nobody can wait: may use the reserve below the minimum
  user = 4,     // for a program: directly mapped memory
  highmem = 8,  // memory beyond the direct map will do, and is taken first
  dma = 16,     // below 16 MiB, nowhere else
};
inline constexpr unsigned kGfpEnd = 32;  // one above all flags together

constexpr unsigned raw(Gfp flags) { return static_cast<unsigned>(flags); }
constexpr Gfp operator|(Gfp left, Gfp right) {
  return Gfp(static_cast<std::uint8_t>(raw(left) | raw(right)));
}
constexpr bool has(Gfp flags, Gfp flag) { return (raw(flags) & raw(flag)) != 0; }

// Whether a request may carry these flags: known ones, at least one, and not two zones at once.
constexpr bool valid(Gfp flags) {
  return raw(flags) != 0 && raw(flags) < kGfpEnd && !(has(flags, Gfp::dma) && has(flags, Gfp::highmem));
}

}  // namespace memory
