// hold(): takes a range out of usable memory, so that it can be added later, while the kernel runs.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/boot_info.hpp"
#include "mm/base/result.hpp"

namespace boot {

// Makes `range` (whole frames, not empty) a range of kind `held`. All of it or nothing: fails with
//   not_found  a part of it is not available memory
//   busy       a part of it is in use: the kernel, the loader's structures, a module, frame 0
//   too_big    the table of ranges has no room for the pieces
memory::Result<void> hold(memory::BootInfo& info, memory::PhysRange range);

}  // namespace boot
