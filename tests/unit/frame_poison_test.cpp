// Poison: what is written to freed frames is found when they are handed out again.
// SPDX-License-Identifier: MIT
#include "tests/unit/buddy_world.hpp"

using namespace unit::buddy;
using unit::frames;
using unit::World;

// Under ASan the write itself is reported: tests/host/poison_test.cpp.
TEST(buddy, a_write_after_free_is_found_when_the_frame_is_handed_out) {
  if (!config::poison_frames || unit::kAddressSanitizer) return;
  static constexpr PhysRange kOneBlock[] = {frames(0, kBlock)};
  for (const unsigned offset : {0u, 7u, 4095u, 4096u, 32767u}) {
    World world({.memory = kOneBlock, .caching = FrameCaches::Service::off});
    ASSERT(world.ok());
    const FrameNumber three = take(world, 3);
    std::byte* const bytes = world->frames().open(three).bytes();
    EXPECT_EQ(give(world, three, 3), Error::ok);
    EXPECT_EQ(world->counter(Counter::frames_poisoned), 8);
    bytes[offset] ^= std::byte{1};
    EXPECT_PANIC((void)take(world, 3), "write after free");
  }
}

TEST(buddy, frames_that_were_never_freed_are_not_verified) {
  World world({.memory = kOneRun, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  const FrameNumber three = take(world, 3);
  std::byte* const bytes = world->frames().open(three).bytes();
  bytes[0] = bytes[32767] = std::byte{0xaa};
  EXPECT_EQ(give(world, three, 3), Error::ok);
  EXPECT_EQ(raw(take(world, 4)), raw(three));  // half of it freed before, half never
  EXPECT_EQ(world->frames()[three].flags.load(), 0);
  EXPECT_EQ(world->frames()[three + 7].flags.load(), 0);
  bytes[32767] = std::byte{0xbb};  // ours again
  EXPECT_EQ(give(world, three, 4), Error::ok);
}
