// The stacks that the kernel owns, each with an unmapped page below it.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mm/base/config.hpp"
#include "mm/base/types.hpp"

namespace kernel {

// Memory, low to high:
//   |  guard, 4 KiB  |  bytes, kernel_stack_kib  |
//   ^ never mapped once the kernel's own page tables are loaded; the stack grows down towards it
struct alignas(memory::kPageSize) GuardedStack {
  std::array<std::byte, memory::kPageSize> guard;
  std::array<std::byte, memory::config::kernel_stack_kib * 1024> bytes;

  memory::VirtAddr guard_page() const { return {reinterpret_cast<std::uint64_t>(guard.data())}; }
  memory::VirtAddr bottom() const { return {reinterpret_cast<std::uint64_t>(bytes.data())}; }
  memory::VirtAddr top() const { return bottom() + bytes.size(); }
};
static_assert(memory::config::kernel_stack_kib % 4 == 0, "a stack is whole pages");

enum class StackUse : std::uint8_t { boot, double_fault, nmi, machine_check, debug, count_ };
inline constexpr std::size_t kStacks = static_cast<std::size_t>(StackUse::count_);

struct NamedStack {
  std::string_view name;  // "boot", "double fault", ...
  const GuardedStack* stack;

  bool contains(std::uint64_t address) const {
    return address >= stack->bottom().value && address < stack->top().value;
  }
  // The most bytes that were ever in use: everything above the lowest byte that is not 0.
  std::size_t high_water_bytes() const;
};

// Indexed by StackUse.
const std::array<NamedStack, kStacks>& stacks();

// The pages that must not be mapped.
std::array<memory::VirtAddr, kStacks> kernel_guard_pages();

// The stack whose guard page holds `address`, or null.
const NamedStack* stack_guarded_at(std::uint64_t address);

// The stack that holds `address`, or null.
const NamedStack* stack_holding(std::uint64_t address);

}  // namespace kernel

// The stack that kmain runs on. boot/entry.S defines it: guard page, then stack, as above.
extern "C" kernel::GuardedStack boot_stack_guard;
