// Ways for the machine to end. None of them announces itself: shell/power and panic do that before.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace kernel::power {

// docs/formats.md, section 3.
enum class ExitCode : std::uint8_t { poweroff = 0x10, panic = 0x11, unusable = 0x12 };

// Leaves QEMU with this code where it has isa-debug-exit. Otherwise: poweroff asks ACPI as QEMU wires it,
// panic tells pvpanic where there is one, and the CPU halts for ever.
[[noreturn]] void leave(ExitCode code);

// Resets the machine: keyboard controller, then the chipset's reset register, then a triple fault.
[[noreturn]] void reset();

// Loads an empty interrupt table and traps: nothing can handle that, so the CPU shuts down.
[[noreturn]] void triple_fault();

}  // namespace kernel::power
