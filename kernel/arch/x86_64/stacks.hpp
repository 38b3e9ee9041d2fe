// The stacks that the kernel runs on: the boot CPU's, which are part of the image, and kernel ranges, which all others are.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "mm/base/config.hpp"
#include "mm/base/format.hpp"
#include "mm/base/result.hpp"
#include "mm/memory_manager.hpp"
#include "mm/virtual/kernel_stack.hpp"

namespace kernel {

using memory::KernelStack;

// What a CPU has stacks for. `boot` is what kmain and the shell run on, the boot CPU's alone; `idle` is where a CPU waits;
// those between are slots of the interrupt-stack table.
enum class StackUse : std::uint8_t { boot, double_fault, nmi, machine_check, debug, idle, count_ };
inline constexpr std::size_t kStackUses = static_cast<std::size_t>(StackUse::count_);
std::string_view name_of(StackUse use);

// One CPU's, by use; empty where it has none.
struct CpuStacks {
  std::array<KernelStack, kStackUses> stacks{};
  KernelStack& operator[](StackUse use) { return stacks[static_cast<std::size_t>(use)]; }
  const KernelStack& operator[](StackUse use) const { return stacks[static_cast<std::size_t>(use)]; }
};

// ---- the boot CPU's, which are there before there is a memory manager

// Memory, low to high:
//   |  guard, 4 KiB  |  bytes, kernel_stack_kib  |
//   ^ never mapped once the kernel's own page tables are loaded; the stack grows down towards it
struct alignas(memory::kPageSize) ImageStack {
  std::array<std::byte, memory::kPageSize> guard;
  std::array<std::byte, memory::KernelStacks::kBytes> bytes;
};
static_assert(memory::config::kernel_stack_kib % 4 == 0, "a stack is whole pages");

CpuStacks image_stacks();
// The pages of the image that must not be mapped.
std::array<memory::VirtAddr, kStackUses> kernel_guard_pages();

// Which of them holds `address` in that part.
enum class StackPart : std::uint8_t { guard, body };
std::optional<StackUse> image_stack_at(std::uint64_t address, StackPart part);

// ---- a further CPU's: ranges under the owner "CPU" and its number

// All of them, or none: fails with no_memory. Not from interrupt handlers, no spin lock held.
memory::Result<CpuStacks> make_cpu_stacks(unsigned cpu);
// Nobody runs on them any more. Each becomes empty.
void release_cpu_stacks(CpuStacks& stacks);

// ---- all of them

// The most bytes that were ever in use: everything above the lowest word that is not 0, the canary left out.
std::uint64_t high_water_bytes(const KernelStack& stack);

// The stack that holds `address`; not_found. Takes no lock, so that it serves a CPU which will not go on. It may then miss
// one on which no CPU runs, where it stopped somebody in the middle of changing ranges.
memory::Result<KernelStack> stack_holding(std::uint64_t address);

// Whose a range of kind stack is: "CPU 3 NMI", "thread 7 errand". `title`: the thread's name, which may be empty. Takes no
// lock.
void write_stack_owner(memory::Writer& out, const memory::FoundRange& range, std::string_view title);

// Calls body(name, KernelStack) for each that somebody has, the boot CPU's first. Precondition: nobody joins a thread
// meanwhile.
template <typename Body>
void for_each_stack(Body&& body);

// The name of the thread of that number, or none. As for_each_stack.
std::string_view title_of_thread(std::uint32_t number);

template <typename Body>
void for_each_stack(Body&& body) {
  const CpuStacks own = image_stacks();
  for (std::size_t use = 0; use < kStackUses; ++use)
    body(name_of(static_cast<StackUse>(use)), own.stacks[use]);
  memory::manager().addresses().ranges().for_each([&](const memory::FoundRange& range) {
    if (range.kind != memory::RangeKind::stack || range.state != memory::RangeState::allocated) return;
    memory::TextBuffer<48> name;
    write_stack_owner(name, range, title_of_thread(range.number));
    body(name.view(), KernelStack{range.body.first, range.body.end});
  });
}

}  // namespace kernel

// The stack that kmain runs on. boot/entry.S defines it: guard page, then stack, as above.
extern "C" kernel::ImageStack boot_stack_guard;
