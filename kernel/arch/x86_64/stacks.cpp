// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/stacks.hpp"

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/task/scheduler.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/check.hpp"

namespace kernel {

namespace {

using memory::FoundRange;
using memory::KernelStacks;
using memory::Result;
using memory::VirtAddr;

constinit ImageStack double_fault_stack{};
constinit ImageStack nmi_stack{};
constinit ImageStack machine_check_stack{};
constinit ImageStack debug_stack{};
constinit ImageStack idle_stack{};

constinit const std::array<const ImageStack*, kStackUses> in_image{
    &boot_stack_guard, &double_fault_stack, &nmi_stack, &machine_check_stack, &debug_stack, &idle_stack};

VirtAddr address_of(const std::byte* byte) { return {reinterpret_cast<std::uint64_t>(byte)}; }
VirtAddr guard_of(const ImageStack& stack) { return address_of(stack.guard.data()); }
KernelStack body_of(const ImageStack& stack) {
  const VirtAddr bottom = address_of(stack.bytes.data());
  return {bottom, bottom + stack.bytes.size()};
}

KernelStacks& made_stacks() { return memory::manager().addresses().stacks(); }

// A CPU that could run on `address`: by its own record, which no change of ranges can hide.
Result<KernelStack> stack_of_cpu(const Cpu& cpu, VirtAddr address) {
  for (const KernelStack& stack : cpu.stacks.stacks)
    if (stack.holds(address)) return stack;
  const KernelStack running = scheduler::running_on(cpu).stack;
  if (running.holds(address)) return running;
  return memory::Error::not_found;
}

}  // namespace

std::string_view name_of(StackUse use) {
  constexpr std::array<std::string_view, kStackUses> kNames{"boot",          "double fault", "NMI",
                                                            "machine check", "debug",        "idle"};
  return kNames[static_cast<std::size_t>(use)];
}

// ---- the boot CPU's

CpuStacks image_stacks() {
  CpuStacks found;
  for (std::size_t use = 0; use < kStackUses; ++use) found.stacks[use] = body_of(*in_image[use]);
  return found;
}

std::array<VirtAddr, kStackUses> kernel_guard_pages() {
  std::array<VirtAddr, kStackUses> pages{};
  for (std::size_t use = 0; use < kStackUses; ++use) pages[use] = guard_of(*in_image[use]);
  return pages;
}

std::optional<StackUse> image_stack_at(std::uint64_t address, StackPart part) {
  for (std::size_t use = 0; use < kStackUses; ++use) {
    const VirtAddr guard = guard_of(*in_image[use]);
    const KernelStack body = body_of(*in_image[use]);
    const bool inside = part == StackPart::body ? body.holds({address})
                                                : guard.value <= address && address < body.bottom.value;
    if (inside) return static_cast<StackUse>(use);
  }
  return std::nullopt;
}

// ---- a further CPU's

Result<CpuStacks> make_cpu_stacks(unsigned cpu) {
  CpuStacks made;
  for (std::size_t use = static_cast<std::size_t>(StackUse::double_fault); use < kStackUses; ++use) {
    const auto stack = made_stacks().allocate(memory::Origin::here("CPU", cpu));
    if (!stack.ok()) {
      release_cpu_stacks(made);
      return stack.error();
    }
    made.stacks[use] = stack.take();
  }
  return made;
}

// Whoever gives them back has too little memory, or never needs so many again: none is kept.
void release_cpu_stacks(CpuStacks& stacks) {
  for (KernelStack& stack : stacks.stacks) {
    if (stack == KernelStack{}) continue;
    CHECK(made_stacks().release(stack).ok());
    stack = KernelStack{};
  }
  made_stacks().shrink();
}

// ---- all of them

std::uint64_t high_water_bytes(const KernelStack& stack) {
  const auto* const words = reinterpret_cast<const std::uint64_t*>(stack.bottom.value);
  return KernelStacks::used_bytes({words, (stack.top - stack.bottom) / sizeof *words});
}

Result<KernelStack> stack_holding(std::uint64_t address) {
  if (const auto use = image_stack_at(address, StackPart::body))
    return body_of(*in_image[static_cast<std::size_t>(*use)]);
  for (unsigned n = 0; n < cpu_count(); ++n)
    if (const auto found = stack_of_cpu(cpu_at(n), {address}); found.ok()) return found;
  const FoundRange range = TRY(memory::range_at_fault({address}));
  const KernelStack stack{range.body.first, range.body.end};
  if (range.kind != memory::RangeKind::stack || range.state != memory::RangeState::allocated ||
      !stack.holds({address}))
    return memory::Error::not_found;
  return stack;
}

void write_stack_owner(memory::Writer& out, const FoundRange& range, std::string_view title) {
  out.text(range.owner.view()).text(" ").number(range.number);
  if (range.owner == memory::RangeOwner("thread")) {
    if (!title.empty()) out.text(" ").text(title);
    return;
  }
  if (range.number >= memory::config::max_cpus) return;
  const CpuStacks& stacks = cpu_at(range.number).stacks;
  for (std::size_t use = 0; use < kStackUses; ++use)
    if (stacks.stacks[use].bottom == range.body.first)
      out.text(" ").text(name_of(static_cast<StackUse>(use)));
}

std::string_view title_of_thread(std::uint32_t number) {
  const Thread* const thread = thread_from(number);
  return thread != nullptr && thread->number == number ? thread->title() : std::string_view{};
}

}  // namespace kernel
