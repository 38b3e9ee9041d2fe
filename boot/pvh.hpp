// The PVH parser: QEMU's (and Xen's) start information into a BootInfo.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "boot/builder.hpp"

namespace boot {

// Xen public/arch-x86/hvm/start_info.h: XEN_HVM_START_MAGIC_VALUE. Also what entry.S passes for this
// protocol.
inline constexpr std::uint32_t kPvhMagic = 0x336ec578;

// Reads struct hvm_start_info at `information`, which must have version 1 or later, and all that it points
// to. Nothing outside the view is read, whatever its counts and addresses claim. Fails when the structure is
// broken or names no usable memory; the builder's report says why, and what was refused.
Result<void> parse_pvh(Builder& builder, PhysAddr information);

}  // namespace boot
