// What the memory checker of the seam is told about a heap: the inside of a free block is nobody's.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/config.hpp"
#include "mm/base/platform.hpp"

namespace memory::heap_guard {

// In a free block all bytes between its links and its footer are poisoned, where the profile poisons freed memory: ASan
// reports a use of them at once, the machine when they are handed out again. Both are [first, end), which may be empty
// or, where a free block has no room between links and footer, negative.
inline void bury(std::uint64_t first, std::uint64_t end) {
  if constexpr (config::poison_frames)
    if (first < end)
      platform::poison(reinterpret_cast<void*>(first), end - first, platform::Poison::free_object);
}
inline void unearth(std::uint64_t first, std::uint64_t end) {
  if constexpr (config::poison_frames)
    if (first < end)
      platform::unpoison(reinterpret_cast<void*>(first), end - first, platform::Poison::free_object);
}

// The word at `place`, poisoned or not: somebody claims that it is a header.
[[gnu::no_sanitize_address]] inline std::uint64_t peek(std::uint64_t place) {
  return *reinterpret_cast<const std::uint64_t*>(place);
}

}  // namespace memory::heap_guard
