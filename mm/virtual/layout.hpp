// The rows of the floor of virtual memory for outside readers.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/stats/layout.hpp"
#include "mm/virtual/kernel_range.hpp"

namespace memory::stats {

template <>
inline constexpr std::string_view kTypeName<VirtAddr> = "u64";
template <>
inline constexpr std::string_view kTypeName<PhysAddr> = "u64";
template <>
inline constexpr std::string_view kTypeName<std::int8_t> = "u8";  // two's complement

}  // namespace memory::stats

#define LAYOUT_DEF "mm/virtual/layout.def"
#define LAYOUT_FLOOR virtual_memory
#include "mm/stats/layout_expand.inc"
