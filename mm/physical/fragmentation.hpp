// Fragmentation: how broken up free memory is, after Mel Gorman's indices.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <optional>

#include "mm/base/config.hpp"

namespace memory {

using FreeBlocks = std::array<std::uint64_t, config::max_order + 1>;  // of each order

// Frames in all of the blocks.
std::uint64_t frames_in(const FreeBlocks& blocks);

// Order of the largest free block; none when nothing is free.
std::optional<unsigned> largest_order(const FreeBlocks& blocks);

// Thousandths of the free memory that a request of `order` cannot use, because its blocks are smaller. 0: all of it can
// be used; 1000: nothing, or nothing is free.
unsigned unusable_index(const FreeBlocks& blocks, unsigned order);

// Why a request of `order` would fail: towards 0 for want of memory, towards 1000 because it is broken up; none while it
// would succeed. (Gorman and Whitcroft, "The What, The Why and the Where To of Anti-Fragmentation", OLS 2006, section 3;
// Linux's extfrag_index.)
std::optional<unsigned> external_index(const FreeBlocks& blocks, unsigned order);

}  // namespace memory
