// The stacks that the kernel owns, each with an unmapped page below it.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "mm/base/config.hpp"
#include "mm/base/result.hpp"
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

// The boot CPU's, which are part of the image; `idle` is where it waits, `boot` what kmain and the shell run on.
enum class StackUse : std::uint8_t { boot, double_fault, nmi, machine_check, debug, idle, count_ };
inline constexpr std::size_t kBootStacks = static_cast<std::size_t>(StackUse::count_);

struct NamedStack {
  std::string_view name;  // "boot", "double fault", "CPU 3 NMI", ...
  const GuardedStack* stack;

  bool contains(std::uint64_t address) const {
    return address >= stack->bottom().value && address < stack->top().value;
  }
  // The most bytes that were ever in use: everything above the lowest byte that is not 0.
  std::size_t high_water_bytes() const;
};

// The boot CPU's, indexed by StackUse.
const std::array<NamedStack, kBootStacks>& stacks();

// Stacks that were made while the kernel ran, in the window kernel_space::kStacks.
inline constexpr std::size_t kMostMadeStacks = 256;

// A stack of zeroes whose name is `name`, cut to 31 characters. Fails with no_memory, or too_big when there are
// kMostMadeStacks. Not from interrupt handlers.
memory::Result<const NamedStack*> make_stack(std::string_view name);
// Nobody runs on it any more: it is unmapped everywhere. Not from interrupt handlers, no spin lock held.
void release_stack(const NamedStack& stack);

// Calls body(const NamedStack&) for each stack in use, the boot CPU's first.
template <typename Body>
void for_each_stack(Body&& body);
// The made stack in that slot, or null.
const NamedStack* made_stack(std::size_t slot);

// The pages of the image that must not be mapped.
std::array<memory::VirtAddr, kBootStacks> kernel_guard_pages();

// The stack whose guard page holds `address`, or null.
const NamedStack* stack_guarded_at(std::uint64_t address);

// The stack that holds `address`, or null.
const NamedStack* stack_holding(std::uint64_t address);

template <typename Body>
void for_each_stack(Body&& body) {
  for (const NamedStack& stack : stacks()) body(stack);
  for (std::size_t slot = 0; slot < kMostMadeStacks; ++slot) {
    if (const NamedStack* stack = made_stack(slot)) body(*stack);
  }
}

}  // namespace kernel

// The stack that kmain runs on. boot/entry.S defines it: guard page, then stack, as above.
extern "C" kernel::GuardedStack boot_stack_guard;
