// Cpu: what the kernel knows of one CPU beyond mm/'s PerCpu; reached by platform::percpu().home.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "kernel/arch/x86_64/gdt.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/platform.hpp"
#include "mm/base/random.hpp"

namespace kernel {

enum class CpuState : std::uint8_t { absent, starting, running, silent, stopped };
std::string_view name_of(CpuState state);

struct alignas(64) Cpu {
  memory::PerCpu* block = nullptr;  // [I] %gs, unless a test stands on a CPU of its own machine
  std::uint32_t number = 0;         // [I]
  std::uint32_t apic = 0;           // [I] the number of its local APIC
  std::atomic<CpuState> state = CpuState::absent;
  Segments segments{};
  CpuStacks stacks{};          // [I] once it runs; the idle one is also `idle`'s
  Thread idle{};               // runs when nothing else does
  Thread* previous = nullptr;  // the thread that switch_threads() has just left
  memory::Random random{1};    // interrupts off
  // What it did so far. Not among the memory manager's counters, which a command that changes nothing leaves alone.
  std::atomic<std::uint64_t> ticks{0};
  std::atomic<std::uint64_t> switches{0};  // of threads
  std::atomic<std::uint64_t> steals{0};    // threads taken out of another CPU's queue
  std::atomic<std::uint64_t> calls{0};     // functions run because another CPU asked

  // Requests of other CPUs, one bit for each that waits (ipi.cpp).
  alignas(64) std::atomic<std::uint64_t> flushes_asked{0};
  std::atomic<std::uint64_t> calls_asked{0};

  // Where it was when another CPU's panic stopped it. Written before `state` says so.
  struct {
    std::uint64_t ip = 0;
    std::uint64_t stack_pointer = 0;  // of a trap, 0 otherwise
    std::uint64_t frame = 0;
    std::array<char, 120> why{};  // of its own panic, if any
    std::size_t why_size = 0;
  } stopped{};
};

// The CPU that this code runs on. Stable while preemption is off.
inline Cpu& this_cpu() { return *static_cast<Cpu*>(memory::platform::percpu().home); }

// Room for all; cpus() is what runs, by number, the boot CPU first.
extern Cpu boot_cpu;
Cpu& cpu_at(unsigned number);  // number < config::max_cpus
std::span<memory::PerCpu* const> running_cpus();
unsigned cpu_count();

// A CPU's stacks from now on; before it loads its segments.
void give_stacks(Cpu& cpu, const CpuStacks& stacks);

// A further CPU was prepared, with those stacks. Precondition: fewer than config::max_cpus are there.
Cpu& add_cpu(std::uint32_t apic, const CpuStacks& stacks);
// It did not come in time: forget it, but for its stacks. Precondition: it is the last one.
void drop_cpu(Cpu& cpu);

}  // namespace kernel
