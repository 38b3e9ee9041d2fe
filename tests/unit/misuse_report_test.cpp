// The heap's report of a misuse: every field, whichever part of the heap saw it, and its line.
// SPDX-License-Identifier: MIT
#include "mm/heap/misuse_report.hpp"

#include "mm/heap_break.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 4096)};
constexpr MachineShape kShape{.memory = kMemory};

std::uint64_t number(const void* address) { return reinterpret_cast<std::uint64_t>(address); }

}  // namespace

TEST(misuse_report, there_is_none_before_the_first) {
  World world(kShape);
  ASSERT(world.ok());
  EXPECT_EQ(world->manager().last_misuse().number, 0u);
  EXPECT(world->manager().last_misuse().error == Error::ok);
}

TEST(misuse_report, says_whose_object_was_freed_twice) {
  World world(kShape);
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  KmemCache* const cache = manager.heap().create({.name = "pair", .object_bytes = 56}).take();
  void* const object = cache->allocate().take();
  EXPECT(manager.cache_free(*cache, object).ok());
  EXPECT_EQ(manager.cache_free(*cache, object).error(), Error::double_free);
  const MisuseReport report = manager.last_misuse();
  EXPECT_EQ(report.number, 1u);
  EXPECT(report.error == Error::double_free && report.keeper == Keeper::cache);
  EXPECT(std::string_view(report.keeper_name) == "pair");
  EXPECT_EQ(report.address, number(object));
  EXPECT_EQ(report.object, number(object));
  EXPECT_EQ(report.requested, 56u);
  EXPECT(report.caught.site != 0);
  EXPECT_EQ(report.caught.cpu, 0u);
  EXPECT(manager.valid());
}

TEST(misuse_report, names_the_object_around_an_address) {
  World world(kShape);
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  auto* const small = static_cast<std::byte*>(manager.kmalloc().allocate(100).take());
  auto* const large = static_cast<std::byte*>(manager.kmalloc().allocate(100'000).take());
  EXPECT_EQ(manager.kfree(small + 111).error(), Error::interior_object);
  MisuseReport report = manager.last_misuse();
  EXPECT(std::string_view(report.keeper_name) == "kmalloc-112");
  EXPECT(report.address == number(small + 111) && report.object == number(small) && report.requested == 112);
  EXPECT_EQ(manager.kfree(large + 70'000).error(), Error::interior_object);
  report = manager.last_misuse();
  EXPECT(report.keeper == Keeper::large && std::string_view(report.keeper_name) == "kmalloc");
  EXPECT(report.object == number(large) && report.requested == 128 << 10);
  EXPECT_EQ(manager.kfree_sized(small, 10).error(), Error::wrong_size);
  report = manager.last_misuse();
  EXPECT(report.object == number(small) && report.told == 10 && report.number == 3);
  EXPECT(manager.kfree(small).ok() && manager.kfree(large).ok());
}

TEST(misuse_report, knows_an_owner_across_the_allocators) {
  World world(kShape);
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  KmemCache* const cache = manager.heap().create({.name = "other", .object_bytes = 64}).take();
  void* const small = manager.kmalloc().allocate(64).take();
  void* const large = manager.kmalloc().allocate(20'000).take();
  EXPECT_EQ(manager.cache_free(*cache, small).error(), Error::wrong_cache);
  EXPECT(std::string_view(manager.last_misuse().given_to) == "other");
  EXPECT_EQ(manager.cache_free(*cache, large).error(), Error::wrong_cache);
  EXPECT(manager.last_misuse().keeper == Keeper::large);
  EXPECT_EQ(manager.heap_free(large).error(), Error::wrong_cache);
  EXPECT(std::string_view(manager.last_misuse().given_to) == "kernel heap");
  EXPECT_EQ(manager.heap_free(small).error(), Error::wrong_cache);
  EXPECT(std::string_view(manager.last_misuse().keeper_name) == "kmalloc-64");
  EXPECT(manager.kfree(small).ok() && manager.kfree(large).ok());
}

TEST(misuse_report, a_second_free_is_known_when_the_slab_is_gone) {
  World world(kShape);
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  void* const small = manager.kmalloc().allocate(700).take();
  void* const large = manager.kmalloc().allocate(20'000).take();
  void* const block = manager.heap_malloc(3000).take();
  EXPECT(manager.kfree(small).ok() && manager.kfree(large).ok() && manager.heap_free(block).ok());
  manager.heap().quiesce();
  manager.kernel_heap().shrink();
  EXPECT_EQ(manager.kfree(small).error(), Error::double_free);
  EXPECT_EQ(manager.kfree(large).error(), Error::double_free);
  EXPECT_EQ(manager.heap_free(block).error(), Error::double_free);
  EXPECT(manager.last_misuse().keeper == Keeper::nobody);
  EXPECT_EQ(manager.last_misuse().number, 3u);
}

TEST(misuse_report, its_line_says_all_of_it) {
  World world({.memory = kMemory, .on_misuse = MisusePolicy::panic});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  KmemCache* const cache = manager.heap().create({.name = "pair", .object_bytes = 56}).take();
  auto* const object = static_cast<std::byte*>(cache->allocate().take());
  TextBuffer<200> line;
  line.text("free of the inside of an object: cache pair, address ").hex(number(object) + 9);
  line.text(", object at ").hex(number(object)).text(" of 56 bytes, caught at 0x");
  EXPECT_PANIC((void)manager.cache_free(*cache, object + 9), line.view());
  TextBuffer<200> wild;
  wild.text("free of an address that is no object: address 0x40, given to kmalloc, caught at");
  EXPECT_PANIC((void)manager.kfree(reinterpret_cast<void*>(0x40)), wild.view());
}

TEST(misuse_report, errors_made_on_purpose_are_refused_and_leave_nothing) {
  World world(kShape);
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  KmemCache* const cache = manager.heap().create({.name = "victim", .object_bytes = 200}).take();
  std::uint64_t count = 0;
  for (const unsigned owner : {HeapBreak::kKmalloc, HeapBreak::kKernelHeap, cache->number()})
    for (std::size_t kind = 0; kind < std::size(kHeapBreaks); ++kind) {
      HeapBreak wanted{.kind = static_cast<HeapBreakKind>(kind), .cache = owner, .bytes = 200, .object = 3};
      wanted.offset = 24;
      const auto broken = break_heap(manager, wanted);
      const bool writes = wanted.kind > HeapBreakKind::wrong_size_free;
      if (writes ? owner == HeapBreak::kKernelHeap
                 : wanted.kind == HeapBreakKind::wrong_size_free && owner != HeapBreak::kKmalloc) {
        EXPECT_EQ(broken.error(), Error::invalid);
        continue;
      }
      ASSERT(broken.ok());
      if (writes && !config::debug_slab) {  // and what was written is as it was
        EXPECT_EQ(broken.take().answer, Error::ok);
        continue;
      }
      EXPECT(is_misuse(broken.take().answer));
      EXPECT_EQ(manager.last_misuse().number, ++count);
      EXPECT_EQ(manager.last_misuse().address, broken.take().address);
    }
  EXPECT_EQ(cache->levels().allocated, 0u);
  EXPECT_EQ(manager.kernel_heap().levels().active_blocks, 0u);
  EXPECT(manager.valid());
}
