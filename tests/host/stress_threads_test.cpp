// Machines side by side: what one thread's machine does is not touched by what all the others do.
// SPDX-License-Identifier: MIT
#include <memory>
#include <thread>
#include <vector>

#include "mm/host/cpu.hpp"
#include "mm/host/machine.hpp"
#include "mm/physical/stress.hpp"
#include "tests/unit/world.hpp"

using namespace memory;

namespace {
constexpr unsigned kThreads = 4;
constexpr PhysRange kMemory[] = {unit::frames(1, 159), unit::frames(256, 2300)};
}  // namespace

TEST(stress_threads, the_same_seed_on_parallel_machines_is_the_same_state) {
  std::vector<std::uint64_t> states(kThreads);
  {
    std::vector<std::jthread> threads;
    for (unsigned n = 0; n < kThreads; ++n)
      threads.emplace_back([&states, n] {
        const std::unique_ptr<host::Machine> machine(host::Machine::create({.memory = kMemory}).take());
        const host::Cpu cpu((*machine)->cpu(0));
        Stress stress((*machine)->physical(), n < kThreads - 1 ? unit::seed() : unit::seed() + 1);
        if (stress.run(4000, [] { return true; }).ok()) states[n] = unit::fingerprint(**machine);
      });
  }
  EXPECT(states[0] != 0);
  EXPECT_EQ(states[1], states[0]);
  EXPECT_EQ(states[2], states[0]);
  EXPECT(states[3] != states[0]);
}
