// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/gdt.hpp"

#include <array>

#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/stacks.hpp"

namespace kernel {

namespace {

// Intel SDM volume 3, section 8.7. The I/O map base beyond the limit means: no I/O permission map.
struct [[gnu::packed]] TaskState {
  std::uint32_t reserved0;
  std::array<std::uint64_t, 3> privileged_stacks;
  std::uint64_t reserved1;
  std::array<std::uint64_t, 7> interrupt_stacks;
  std::uint64_t reserved2;
  std::uint16_t reserved3;
  std::uint16_t io_map_base;
};
static_assert(sizeof(TaskState) == 104);

struct [[gnu::packed]] TablePointer {
  std::uint16_t limit;
  std::uint64_t base;
};

// Access and flag bits of section 3.4.5; base and limit are ignored in 64-bit mode.
constexpr std::uint64_t kCode64 = 0x00af'9b00'0000'ffff;      // present, ring 0, execute/read, accessed, L
constexpr std::uint64_t kData = 0x00cf'9300'0000'ffff;        // present, ring 0, read/write, accessed
constexpr std::uint64_t kUserCode32 = 0x00cf'fb00'0000'ffff;  // SYSRET's slot for 32-bit code; not used
constexpr std::uint64_t kUserData64 = 0x00cf'f300'0000'ffff;
constexpr std::uint64_t kUserCode64 = 0x00af'fb00'0000'ffff;

constinit TaskState boot_task_state{};
constinit std::array<std::uint64_t, 8> boot_descriptors{0,           kCode64,     kData, kUserCode32,
                                                        kUserData64, kUserCode64, 0,     0};

// A system descriptor takes two slots, its base is spread over both (section 8.2.3).
void describe_task_state() {
  const auto base = reinterpret_cast<std::uint64_t>(&boot_task_state);
  constexpr std::uint64_t kLimit = sizeof(TaskState) - 1;
  constexpr std::uint64_t kAvailableTaskState = 0x89ULL << 40;
  boot_descriptors[kTaskState / 8] =
      kLimit | (base & 0xff'ffff) << 16 | kAvailableTaskState | (base >> 24 & 0xff) << 56;
  boot_descriptors[kTaskState / 8 + 1] = base >> 32;
}

void set_stack(InterruptStack slot, StackUse use) {
  const NamedStack& stack = stacks()[static_cast<std::size_t>(use)];
  boot_task_state.interrupt_stacks[static_cast<std::size_t>(slot) - 1] = stack.stack->top().value;
}

// Loading %gs with a selector would clear its base, so %gs and %fs are left at the null selector they have.
void reload_segment_registers() {
  asm volatile(
      "pushq %0\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "lretq\n"
      "1:\n\t"
      "movl %1, %%eax\n\t"
      "movw %%ax, %%ds\n\t"
      "movw %%ax, %%es\n\t"
      "movw %%ax, %%ss"
      :
      : "i"(std::uint64_t{kKernelCode}), "i"(std::uint32_t{kKernelData})
      : "rax", "memory");
}

}  // namespace

void load_segments() {
  boot_task_state.io_map_base = sizeof(TaskState);
  set_stack(InterruptStack::double_fault, StackUse::double_fault);
  set_stack(InterruptStack::nmi, StackUse::nmi);
  set_stack(InterruptStack::machine_check, StackUse::machine_check);
  set_stack(InterruptStack::debug, StackUse::debug);
  describe_task_state();

  const TablePointer pointer{sizeof boot_descriptors - 1,
                             reinterpret_cast<std::uint64_t>(boot_descriptors.data())};
  asm volatile("lgdt %0" : : "m"(pointer));
  reload_segment_registers();
  asm volatile("ltr %w0" : : "r"(kTaskState));
}

}  // namespace kernel
