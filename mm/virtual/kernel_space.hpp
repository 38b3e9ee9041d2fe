// Where the kernel's half of virtual memory has its windows. Fixed until they are randomised.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/types.hpp"

namespace memory::kernel_space {

inline constexpr VirtAddr kDirectMap{
    0xffff'8000'0000'0000};  // physical address 0; RAM, and read-only what firmware keeps
// Kernel ranges: 512 GiB, what one entry of a root table covers, so all roots share it by sharing that entry.
inline constexpr VirtAddr kVmalloc{0xffff'c000'0000'0000};
inline constexpr VirtAddr kVmallocEnd{0xffff'c080'0000'0000};
inline constexpr VirtAddr kFrameArray{0xffff'e000'0000'0000};  // Frame of frame 0
inline constexpr VirtAddr kPageblocks{0xffff'e800'0000'0000};  // Pageblock of frame 0
inline constexpr VirtAddr kImage{0xffff'ffff'8000'0000};       // physical address 0 as the kernel is linked
inline constexpr VirtAddr kDevices{0xffff'ffff'c000'0000};     // registers of devices, 2 MiB
inline constexpr VirtAddr kScratch{0xffff'ffff'f000'0000};  // pages that a stress maps to frame after frame
// Eight pages for each CPU, to look at frames beyond the direct map; in the table of the next.
inline constexpr VirtAddr kWindows{0xffff'ffff'bff0'0000};
inline constexpr VirtAddr kSlot{0xffff'ffff'bfff'f000};  // one page, to reach a frame that nothing maps

}  // namespace memory::kernel_space
