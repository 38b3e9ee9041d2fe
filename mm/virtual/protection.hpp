// The check that no page is both writable and executable, over any tree of page tables.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <optional>

#include "mm/virtual/entry.hpp"

namespace memory {

// The first page below `root`, a table of level `top`, that may be written and executed, or nothing. `reach` is where physical address
// 0 appears; every table lies in what it reaches. O(tables); takes no lock: nobody changes the tables
// meanwhile.
std::optional<VirtAddr> writable_and_executable(PhysAddr root, const std::byte* reach,
                                                PageLevel top = PageLevel::gib_512);

// Panics when there is one, and names it.
void verify_protection(PhysAddr root, const std::byte* reach, PageLevel top = PageLevel::gib_512);

}  // namespace memory
