// receive(): what the kernel calls once, whichever loader started it.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "boot/builder.hpp"

namespace boot {

// `magic` and `information` are what entry.S passes to kmain. Fails with a reason in the builder's report
// when the protocol is unknown, no information was given, or it is unusable; then the machine cannot go on.
Result<void> receive(Builder& builder, std::uint32_t magic, PhysAddr information);

}  // namespace boot
