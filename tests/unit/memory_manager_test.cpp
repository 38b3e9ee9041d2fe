// The face: what a misuse does under either policy, and what its text says.
// SPDX-License-Identifier: MIT
#include "mm/memory_manager.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {
constexpr PhysRange kMemory[] = {frames(0, 2000)};
constexpr PhysRange kReserved[] = {frames(7, 8)};
}  // namespace

TEST(memory_manager, allocates_and_frees_by_number) {
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  const auto got = manager.alloc_pages(Order{5});
  ASSERT(got.ok());
  EXPECT_EQ(raw(got.take()) % 32, 0u);
  EXPECT_EQ(world->frames()[got.take()].state(), FrameState::allocated);
  EXPECT_EQ(manager.free_pages(got.take(), Order{5}).error(), Error::ok);
  EXPECT_EQ(manager.alloc_pages(Order{11}).error(), Error::no_memory);  // 2 000 frames have no such block
  EXPECT_EQ(manager.alloc_pages(Order{12}).error(), Error::invalid);
  EXPECT_EQ(manager.free_pages(FrameNumber{0}, Order{12}).error(), Error::invalid);
}

TEST(memory_manager, refuses_misuse_when_told_to) {
  World world({.memory = kMemory, .reserved = kReserved, .on_misuse = MisusePolicy::refuse});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  const FrameNumber block = manager.alloc_pages(Order{3}).take();
  EXPECT_EQ(manager.free_pages(block, Order{2}).error(), Error::wrong_order);
  EXPECT_EQ(manager.free_pages(block + 1, Order{0}).error(), Error::interior_free);
  EXPECT_EQ(manager.free_pages(FrameNumber{7}, Order{0}).error(), Error::reserved_free);
  EXPECT_EQ(manager.free_pages(FrameNumber{2000}, Order{0}).error(), Error::wild_free);
  EXPECT_EQ(manager.free_pages(block, Order{3}).error(), Error::ok);
  EXPECT_EQ(manager.free_pages(block, Order{3}).error(), Error::double_free);
  EXPECT_EQ(world->counter(stats::Counter::frame_misuses), 5);
  EXPECT(manager.valid());
}

// The lock is not held any more when the face panics, so one machine can show all five texts.
TEST(memory_manager, stops_at_misuse_and_says_what_it_was) {
  World world({.memory = kMemory, .reserved = kReserved, .on_misuse = MisusePolicy::panic});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  const FrameNumber eight{8};
  FrameNumber block = manager.alloc_pages(Order{3}).take();
  while (block != eight) block = manager.alloc_pages(Order{3}).take();
  EXPECT_PANIC(
      (void)manager.free_pages(eight, Order{2}),
      "freed with another order than it was allocated with: frame 0x8, order 2, allocated with order 3");
  EXPECT_PANIC((void)manager.free_pages(FrameNumber{15}, Order{0}),
               "free of the inside of a block: frame 0xf, order 0");
  EXPECT_PANIC((void)manager.free_pages(FrameNumber{7}, Order{0}),
               "free of a reserved frame: frame 0x7, order 0");
  EXPECT_PANIC((void)manager.free_pages(FrameNumber{2000}, Order{11}),
               "free of a frame that does not exist: frame 0x7d0, order 11");
  EXPECT_EQ(manager.free_pages(eight, Order{3}).error(), Error::ok);
  EXPECT_PANIC((void)manager.free_pages(eight, Order{3}), "double free: frame 0x8, order 3");
  EXPECT(manager.valid());
}

TEST(memory_manager, its_policy_can_change) {
  World world({.memory = kMemory, .reserved = kReserved, .on_misuse = MisusePolicy::panic});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  EXPECT_EQ(manager.on_misuse(), MisusePolicy::panic);
  manager.set_on_misuse(MisusePolicy::refuse);
  EXPECT_EQ(manager.free_pages(FrameNumber{7}, Order{0}).error(), Error::reserved_free);
  manager.set_on_misuse(MisusePolicy::panic);
  EXPECT_PANIC((void)manager.free_pages(FrameNumber{7}, Order{0}), "reserved frame");
}

TEST(memory_manager, says_no_memory_until_something_is_freed) {
  static std::array<FrameNumber, 2000> held;
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  unsigned count = 0;
  for (auto got = manager.alloc_pages(Order{0}); got.ok(); got = manager.alloc_pages(Order{0}))
    held[count++] = got.take();
  EXPECT_EQ(count, 1999u - 1999u / 256);  // the reserve is for those who cannot wait
  for (auto got = manager.alloc_pages(Order{0}, Gfp::atomic); got.ok();
       got = manager.alloc_pages(Order{0}, Gfp::atomic))
    held[count++] = got.take();
  EXPECT_EQ(count, 1999u);
  EXPECT_EQ(manager.alloc_pages(Order{0}).error(), Error::no_memory);
  EXPECT(manager.free_pages(held[1000], Order{0}).ok());
  const auto again = manager.alloc_pages(Order{0}, Gfp::atomic);
  ASSERT(again.ok());
  EXPECT_EQ(again.take(), held[1000]);
}
