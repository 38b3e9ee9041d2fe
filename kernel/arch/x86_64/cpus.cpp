// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/cpus.hpp"

#include <utility>

#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "mm/base/check.hpp"
#include "mm/memory_manager.hpp"

// Complete before the first line of C++: locks look for the thread, interrupt handlers for the CPU.
constinit memory::PerCpu boot_percpu{.home = &kernel::boot_cpu, .thread = &kernel::boot_thread};

namespace kernel {

constinit Cpu boot_cpu{.block = &boot_percpu, .state = CpuState::running};

namespace {

constexpr unsigned kMost = memory::config::max_cpus;

// Numbers 1 and up; the boot CPU is not in here.
constinit std::array<Cpu, kMost - 1> further_cpus{};
constinit std::array<memory::PerCpu, kMost - 1> further_blocks{};
constinit std::array<memory::PerCpu*, kMost> blocks{&boot_percpu};
constinit std::atomic<unsigned> count{1};

static_assert(kMost >= 2 && kMost <= 64, "sets of CPUs are 64 bits wide");

}  // namespace

std::string_view name_of(CpuState state) {
  constexpr std::string_view kNames[] = {"absent", "starting", "running", "silent", "stopped"};
  return kNames[static_cast<std::size_t>(state)];
}

Cpu& cpu_at(unsigned number) {
  CHECK(number < kMost);
  return number == 0 ? boot_cpu : further_cpus[number - 1];
}

std::span<memory::PerCpu* const> running_cpus() { return {blocks.data(), cpu_count()}; }
unsigned cpu_count() { return count.load(std::memory_order_acquire); }

void give_stacks(Cpu& cpu, const CpuStacks& stacks) {
  constexpr std::array kSlots{std::pair{InterruptStack::double_fault, StackUse::double_fault},
                              std::pair{InterruptStack::nmi, StackUse::nmi},
                              std::pair{InterruptStack::machine_check, StackUse::machine_check},
                              std::pair{InterruptStack::debug, StackUse::debug}};
  cpu.stacks = stacks;
  for (const auto& [slot, use] : kSlots) cpu.segments.set_stack(slot, stacks[use].top);
  cpu.idle.stack = stacks[StackUse::idle];
}

// Whoever sums counters over the CPUs sees the block before the count.
Cpu& add_cpu(std::uint32_t apic, const CpuStacks& stacks) {
  const unsigned number = cpu_count();
  CHECK(number < kMost);
  Cpu& cpu = cpu_at(number);
  cpu.block = &further_blocks[number - 1];
  cpu.block->number = number;
  cpu.block->home = &cpu;
  cpu.block->thread = &cpu.idle;
  cpu.number = number;
  cpu.apic = apic;
  cpu.random = memory::Random{boot_cpu.random.next() ^ number};
  prepare_idle(cpu.idle, number);
  give_stacks(cpu, stacks);
  blocks[number] = cpu.block;
  count.store(number + 1, std::memory_order_release);
  memory::manager().set_cpus(running_cpus());
  return cpu;
}

void drop_cpu(Cpu& cpu) {
  CHECK(cpu.number == cpu_count() - 1 && cpu.number > 0);
  cpu.state.store(CpuState::silent, std::memory_order_relaxed);
  forget_idle(cpu.idle);
  count.store(cpu.number, std::memory_order_release);
  memory::manager().set_cpus(running_cpus());
}

}  // namespace kernel
