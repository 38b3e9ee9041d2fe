// The clock: ticks of the 8254 timer, and its counter between two of them. No calibration.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace kernel::clock {

// Starts the periodic tick (config::tick_hz) on line 0. Interrupts may still be off.
void start();

// Nanoseconds since start(), 0 before it. Never goes back. Loses time only when interrupts stay off for
// longer than a tick. Any context.
std::uint64_t now_ns();

// Timer interrupts taken.
std::uint64_t ticks();

}  // namespace kernel::clock
