// The multiboot2 parser: GRUB's boot information into a BootInfo.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "boot/builder.hpp"

namespace boot {

// Multiboot2 Specification version 2.0, section 3.3: what eax holds when the kernel is entered.
inline constexpr std::uint32_t kMultiboot2Magic = 0x36d76289;

// Reads the information structure at `information` (section 3.6 "Boot information format"). Nothing outside
// the structure is read, whatever its sizes claim. Fails when the structure is broken or names no usable
// memory; the builder's report says why, and what was refused.
Result<void> parse_multiboot2(Builder& builder, PhysAddr information);

}  // namespace boot
