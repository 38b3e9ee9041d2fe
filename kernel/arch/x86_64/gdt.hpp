// Segments and the task-state segment: what long mode still wants of them.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace kernel {

// Selectors. The order is the one that SYSCALL and SYSRET will need (Intel SDM volume 3, section 5.8.8).
inline constexpr std::uint16_t kKernelCode = 0x08;
inline constexpr std::uint16_t kKernelData = 0x10;
inline constexpr std::uint16_t kUserData = 0x20;
inline constexpr std::uint16_t kUserCode = 0x28;
inline constexpr std::uint16_t kTaskState = 0x30;

// Slots of the interrupt-stack table. 0 in a gate means: stay on the current stack.
enum class InterruptStack : std::uint8_t {
  none = 0,
  double_fault = 1,
  nmi = 2,
  machine_check = 3,
  debug = 4
};

// Loads the boot CPU's own descriptor table and task-state segment, reloads every segment register, keeps
// %gs's base. Once, with interrupts off.
void load_segments();

}  // namespace kernel
