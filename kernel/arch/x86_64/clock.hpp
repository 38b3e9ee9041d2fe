// The clock: the ACPI power-management timer where there is one, else ticks of the 8254 timer and its counter
// between two of them. Neither needs a calibration.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace kernel::clock {

// Starts the periodic tick (config::tick_hz) on line 0. Interrupts may still be off.
void start();

// From now on time comes from the power-management timer at `port`, and ticks from on_tick() alone: the 8254's
// interrupt is not needed. False, and nothing has changed, when the timer stands still. One CPU runs.
bool use_pm_timer(std::uint16_t port);
bool uses_pm_timer();

// The boot CPU's tick. Looks at the timer often enough for its 24 bits.
void on_tick();

// Nanoseconds since start(), 0 before it. Never goes back, on no CPU. Loses time only when the boot CPU's interrupts
// stay off: for longer than a tick, with the other timer for longer than 4 seconds. Any context.
std::uint64_t now_ns();

// Timer interrupts that the boot CPU took.
std::uint64_t ticks();

}  // namespace kernel::clock
