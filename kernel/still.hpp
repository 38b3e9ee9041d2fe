// Still: everything else stands while one function runs: no other CPU, no thread, no interrupt handler.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

#include "mm/base/config.hpp"

namespace kernel {

// Where each CPU stands while it is still: all that its thread had in registers lies on the thread's stack from there up.
using StandingStacks = std::array<std::uint64_t, memory::config::max_cpus>;

// Runs body(context, stacks) while no other CPU runs, with interrupts off. None of them stands where interrupts are off, so
// none holds a lock that is taken so; it may hold others, and so may a thread that is on no CPU. Precondition: interrupts
// are on; no lock is held that anybody takes with interrupts off. `body` asks nothing of other CPUs and does not sleep.
void while_still(void (*body)(void* context, const StandingStacks& stacks), void* context);

}  // namespace kernel
