// SPDX-License-Identifier: MIT
#include "mm/machine.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

TEST(machine, runs_the_same_start_as_the_kernel) {
  static constexpr PhysRange kMemory[] = {frames(0, 2048)};
  World world({.memory = kMemory});
  ASSERT(world.ok());
  EXPECT_EQ(world->physical().levels().free, 2048u);
  EXPECT_EQ(world->counter(stats::Counter::frames_free), 2048);
  EXPECT(world->manager().valid());
}
