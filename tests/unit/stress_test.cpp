// The stress stream: the same seed does the same everywhere, it leaves nothing behind, and it finds what it
// is for.
// SPDX-License-Identifier: MIT
#include "mm/physical/stress.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {
constexpr PhysRange kMemory[] = {frames(1, 159), frames(256, 2300)};
constexpr PhysRange kReserved[] = {frames(256, 300)};
constexpr std::uint64_t kOperations = 4000;
const auto kForever = [] { return true; };
}  // namespace

TEST(stress, the_same_seed_is_the_same_state_on_two_machines) {
  World first({.memory = kMemory, .reserved = kReserved});
  World second({.memory = kMemory, .reserved = kReserved, .cpus = 2});
  ASSERT(first.ok() && second.ok());
  Stress one(first->physical(), unit::seed());
  Stress two(second->physical(), unit::seed());
  Stress other(second->physical(), unit::seed() + 1);
  PerCpu* const former = unit::stand_on(&first->cpu(0));  // magazines and counters are the CPU's
  const auto ran = one.run(kOperations, kForever);
  unit::stand_on(former);
  ASSERT(ran.ok());
  ASSERT(two.run(kOperations / 2, kForever).ok());
  ASSERT(two.run(kOperations / 2, kForever).ok());  // in two parts
  EXPECT_EQ(unit::fingerprint(*first), unit::fingerprint(*second));
  EXPECT_EQ(one.report().allocations, two.report().allocations);
  EXPECT_EQ(one.report().misuses, two.report().misuses);
  two.release_all();
  ASSERT(other.run(kOperations, kForever).ok());
  EXPECT(unit::fingerprint(*first) != unit::fingerprint(*second));
}

TEST(stress, release_all_returns_every_frame) {
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  const PhysicalLevels before = world->physical().levels();
  const auto blocks = world->physical().free_blocks();
  Stress stress(world->physical(), unit::seed());
  ASSERT(stress.run(kOperations, kForever).ok());
  const StressReport& report = stress.report();
  EXPECT_EQ(report.operations, kOperations);
  EXPECT_EQ(report.allocations - report.releases, report.live_blocks);
  EXPECT_EQ(world->physical().levels().free,
            before.free - report.live_frames - frames_in(Stress::kTableOrder));
  EXPECT_EQ(world->counter(stats::Counter::frame_misuses), static_cast<std::int64_t>(report.misuses));
  EXPECT(world->manager().valid());
  stress.release_all();
  EXPECT_EQ(stress.report().live_blocks, 0u);
  EXPECT_EQ(stress.report().live_frames, 0u);
  EXPECT_EQ(world->physical().levels().free, before.free);
  world->physical().quiesce();
  EXPECT(world->physical().free_blocks() == blocks);
  EXPECT(world->manager().valid());
  stress.release_all();                   // nothing is left to do
  ASSERT(stress.run(10, kForever).ok());  // and it can go on
  stress.release_all();
}

// From a seed of its own: with one seed in thousands nothing is refused.
TEST(stress, all_that_it_is_for_happens) {
  constexpr std::uint64_t kSeed = 1;
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  Stress stress(world->physical(), kSeed);
  ASSERT(stress.run(kOperations, kForever).ok());
  const StressReport& report = stress.report();
  EXPECT(report.live_blocks > 0);
  EXPECT(report.misuses > 100);
  EXPECT(report.refused > 0);
  EXPECT(report.releases > 500);
  stress.release_all();
}

TEST(stress, keep_going_stops_it) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Stress stress(world->physical(), unit::seed());
  unsigned asked = 0;
  ASSERT(stress.run(1000, [&] { return ++asked <= 7; }).ok());
  EXPECT_EQ(stress.report().operations, 7u);
  stress.release_all();
}

TEST(stress, without_room_for_its_table_it_says_no_memory_and_leaves_nothing) {
  static constexpr PhysRange kSmall[] = {frames(1, 16)};
  World world({.memory = kSmall});
  ASSERT(world.ok());
  const std::uint64_t before = world->physical().levels().free;
  Stress stress(world->physical(), unit::seed());
  EXPECT_EQ(stress.run(10, kForever).error(), Error::no_memory);
  stress.release_all();
  EXPECT_EQ(world->physical().levels().free, before);
}

TEST(stress, finds_a_block_that_another_writes_into) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Stress stress(world->physical(), unit::seed());
  ASSERT(stress.run(200, kForever).ok());
  for (unsigned number = 0; number < 2300; ++number) {
    const Frame* frame =
        world->frames().has(FrameNumber{number}) ? &world->frames()[FrameNumber{number}] : nullptr;
    if (frame == nullptr || frame->state() != FrameState::allocated || frame->order() == Stress::kTableOrder)
      continue;
    world->frames().open(FrameNumber{number}).bytes()[3] ^= std::byte{0x10};
    break;
  }
  EXPECT_PANIC(stress.release_all(), "overwritten");
}

TEST(stress, finds_a_frame_that_is_handed_out_twice) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Stress stress(world->physical(), unit::seed());
  ASSERT(stress.run(500, kForever).ok());
  // Somebody else gives one of its blocks back.
  for (unsigned number = 0; number < 2300; ++number) {
    const Frame* frame =
        world->frames().has(FrameNumber{number}) ? &world->frames()[FrameNumber{number}] : nullptr;
    if (frame == nullptr || frame->state() != FrameState::allocated || frame->order() == Stress::kTableOrder)
      continue;
    EXPECT(world->physical().release(FrameNumber{number}, frame->order()).ok());
    break;
  }
  if (unit::kAddressSanitizer) return;  // ASan ends the test at the first look at that block
  EXPECT_PANIC(stress.release_all(), "stress");
}
