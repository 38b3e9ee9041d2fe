// What the boot CPU has before anything is allocated, and where tests stand.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/percpu.hpp"

// entry.S points %gs at it before the first C++ line.
extern "C" memory::PerCpu boot_percpu;

namespace kernel {

// Makes platform::percpu() be `cpu`: for tests that make machines of their own. No lock may be held. Until the thread
// stands on its CPU's own block again it is not preempted, and does not sleep; interrupts are the own block's.
void stand_on_cpu(memory::PerCpu& cpu);

// Starts the boot CPU's platform::random() anew; further CPUs draw their beginning from it.
void seed_random(std::uint64_t seed);

// Gives the stack canary a value of this boot, from RDRAND where the CPU has it, else from the time-stamp
// counter. The function that calls it must never return: its own canary is the old one.
void randomise_stack_canary();

}  // namespace kernel
