// What every tree of page tables asks of a range of addresses and of rights.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/virtual/entry.hpp"

namespace memory {

constexpr bool in_upper_half(VirtAddr at) { return at.value >> 63 != 0; }

constexpr bool whole_pages(VirtAddr at, std::uint64_t bytes) {
  return bytes != 0 && (at.value | bytes) % kPageSize == 0;
}

constexpr bool allowed(Protection how, VirtAddr at) {
  return how.sensible() && (how.user == User::no || !in_upper_half(at));
}

}  // namespace memory
