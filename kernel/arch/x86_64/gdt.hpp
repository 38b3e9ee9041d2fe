// Segments and the task-state segment: what long mode still wants of them, one set for each CPU.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>

#include "mm/base/types.hpp"

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

// Intel SDM volume 3, section 8.7. The I/O map base beyond the limit means: no I/O permission map.
struct [[gnu::packed]] TaskState {
  std::uint32_t reserved0 = 0;
  std::array<std::uint64_t, 3> privileged_stacks{};
  std::uint64_t reserved1 = 0;
  std::array<std::uint64_t, 7> interrupt_stacks{};
  std::uint64_t reserved2 = 0;
  std::uint16_t reserved3 = 0;
  std::uint16_t io_map_base = 0;
};
static_assert(sizeof(TaskState) == 104);

struct Segments {
  TaskState task_state{};
  std::array<std::uint64_t, 8> descriptors{};

  // The stack that the CPU changes to for the vectors of that slot.
  void set_stack(InterruptStack slot, memory::VirtAddr top) {
    task_state.interrupt_stacks[static_cast<std::size_t>(slot) - 1] = top.value;
  }
};

// Loads this CPU's own descriptor table and task-state segment, whose stacks are set, reloads every segment
// register, keeps %gs's base. Once on each CPU, with interrupts off. `segments` stays where it is.
void load_segments(Segments& segments);

}  // namespace kernel
