// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/stacks.hpp"

namespace kernel {

namespace {

constinit GuardedStack double_fault_stack{};
constinit GuardedStack nmi_stack{};
constinit GuardedStack machine_check_stack{};
constinit GuardedStack debug_stack{};

constinit const std::array<NamedStack, kStacks> named_stacks{{
    {"boot", &boot_stack_guard},
    {"double fault", &double_fault_stack},
    {"NMI", &nmi_stack},
    {"machine check", &machine_check_stack},
    {"debug", &debug_stack},
}};

}  // namespace

const std::array<NamedStack, kStacks>& stacks() { return named_stacks; }

std::array<memory::VirtAddr, kStacks> kernel_guard_pages() {
  std::array<memory::VirtAddr, kStacks> pages{};
  for (std::size_t i = 0; i < kStacks; ++i) pages[i] = named_stacks[i].stack->guard_page();
  return pages;
}

std::size_t NamedStack::high_water_bytes() const {
  std::size_t untouched = 0;
  while (untouched < stack->bytes.size() && stack->bytes[untouched] == std::byte{0}) ++untouched;
  return stack->bytes.size() - untouched;
}

const NamedStack* stack_guarded_at(std::uint64_t address) {
  for (const NamedStack& stack : named_stacks) {
    const memory::VirtAddr guard = stack.stack->guard_page();
    if (address >= guard.value && address < guard.value + memory::kPageSize) return &stack;
  }
  return nullptr;
}

const NamedStack* stack_holding(std::uint64_t address) {
  for (const NamedStack& stack : named_stacks) {
    if (stack.contains(address)) return &stack;
  }
  return nullptr;
}

}  // namespace kernel
