// What is counted of live objects by the call that allocated them. Which calls: tests/mm/test_call_sites.py.
// SPDX-License-Identifier: MIT
#include "mm/call_sites.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 4096)};
constexpr MachineShape kShape{.memory = kMemory};

std::uint64_t objects_of(std::span<const SiteCount> sites) {
  std::uint64_t sum = 0;
  for (const SiteCount& one : sites) sum += one.objects;
  return sum;
}

}  // namespace

TEST(call_sites, counts_what_lives_and_nothing_else) {
  World world(kShape);
  auto* const found = unit::fresh<CallSites>();
  ASSERT(world.ok() && found != nullptr);
  MemoryManager& manager = world->manager();
  const FrameTable& frames = manager.physical().frames();
  found->count(frames);
  const SiteCount before = found->all();
  void* const small = manager.kmalloc().allocate(64).take();
  void* const large = manager.kmalloc().allocate(64_KiB).take();
  EXPECT(manager.kfree(manager.kmalloc().allocate(64).take()).ok());
  found->count(frames);
  EXPECT_EQ(found->all().objects, before.objects + 2);
  EXPECT_EQ(found->all().bytes, before.bytes + 64 + 64_KiB);
  EXPECT_EQ(objects_of(found->sites()) + found->others().objects, found->all().objects);
  EXPECT_EQ(found->sites().empty(), !CallSites::known());
  EXPECT(manager.kfree(small).ok() && manager.kfree(large).ok());
  found->count(frames);
  EXPECT_EQ(found->all().objects, before.objects);
}
