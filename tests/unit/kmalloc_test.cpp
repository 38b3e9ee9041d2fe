// Kmalloc: every size from a class that fits, large ones from frames, and nothing that is not its own.
// SPDX-License-Identifier: MIT
#include "mm/heap/kmalloc.hpp"

#include <cstring>

#include "mm/base/random.hpp"
#include "tests/unit/unit.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 5120)};

Kmalloc& kmalloc_of(World& world) { return world->manager().kmalloc(); }

bool all_given_back(World& world, std::uint64_t free_before) {
  world->manager().heap().quiesce();
  world->physical().quiesce();
  return world->physical().levels().free == free_before && world->manager().valid();
}

}  // namespace

TEST(kmalloc, every_size_has_the_smallest_class_that_holds_it) {
  for (std::size_t bytes = 0; bytes <= kMaxClassBytes; ++bytes) {
    const unsigned index = size_class(bytes);
    ASSERT(index < kSizeClasses.size());
    EXPECT(kSizeClasses[index] >= bytes);
    if (index > 0) EXPECT(kSizeClasses[index - 1] < bytes);
  }
}

TEST(kmalloc, every_size_is_served_aligned_and_apart) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  const std::uint64_t before = world->physical().levels().free;
  static void* objects[300];
  unsigned count = 0;
  for (std::size_t bytes = 0; bytes <= 300'000; bytes = bytes < 200 ? bytes + 1 : bytes * 9 / 8) {
    void* const object = kmalloc.allocate(bytes).take();
    const std::size_t usable = kmalloc.usable_bytes(object).take();
    const auto address = reinterpret_cast<std::uint64_t>(object);
    EXPECT(usable >= bytes && usable > 0);
    EXPECT(address % (bytes < 9 ? 8 : 16) == 0);
    if (bytes != 0 && (bytes & (bytes - 1)) == 0) EXPECT(address % bytes == 0 || bytes < 8);
    std::memset(object, static_cast<int>(count), usable);
    objects[count++] = object;
    ASSERT(count < 300);
  }
  EXPECT(world->manager().valid());
  for (unsigned n = 0; n < count; ++n) {
    const auto* const bytes = static_cast<const std::uint8_t*>(objects[n]);
    const std::size_t usable = kmalloc.usable_bytes(objects[n]).take();
    EXPECT(bytes[0] == static_cast<std::uint8_t>(n) && std::memcmp(bytes, bytes + 1, usable - 1) == 0);
    ASSERT(kmalloc.release(objects[n]).ok());
  }
  EXPECT(all_given_back(world, before));
}

TEST(kmalloc, what_is_too_large_or_overflows_is_refused) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  EXPECT_EQ(kmalloc.allocate(Kmalloc::kMaxBytes + 1).error(), Error::too_big);
  EXPECT_EQ(kmalloc.allocate(~std::size_t{0}).error(), Error::too_big);
  EXPECT_EQ(kmalloc.allocate_array(1u << 31, std::size_t{1} << 33).error(), Error::too_big);
  EXPECT_EQ(kmalloc.allocate_array(~std::size_t{0}, 2).error(), Error::too_big);
  EXPECT_EQ(kmalloc.allocate(64, Gfp::highmem).error(), Error::invalid);
  EXPECT_EQ(kmalloc.allocate(64, Gfp::dma | Gfp::highmem).error(), Error::invalid);
  EXPECT_EQ(kmalloc.allocate(100'000, Gfp::highmem).error(), Error::invalid);
  EXPECT(kmalloc.allocate_array(0, 100).ok());
  EXPECT_EQ(kmalloc.usable_bytes(nullptr).error(), Error::wild_object);
}

TEST(kmalloc, zeroes_are_zero_on_memory_that_was_used) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  for (const std::size_t bytes : {1u, 60u, 700u, 8192u, 40'000u}) {
    void* const used = kmalloc.allocate(bytes).take();
    std::memset(used, 0xff, kmalloc.usable_bytes(used).take());
    ASSERT(kmalloc.release(used).ok());
    const auto* const fresh = static_cast<const std::uint8_t*>(kmalloc.allocate_array(bytes, 1).take());
    const std::size_t usable = kmalloc.usable_bytes(fresh).take();
    EXPECT(fresh[0] == 0 && std::memcmp(fresh, fresh + 1, usable - 1) == 0);
  }
}

TEST(kmalloc, dma_memory_lies_below_16_mib) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  const auto* const edge = world->frames().map().direct_map + 16_MiB;
  for (const std::size_t bytes : {1u, 8u, 9u, 100u, 4097u, 8192u, 8193u, 100'000u}) {
    const auto got = kmalloc.allocate(bytes, Gfp::kernel | Gfp::dma);
    ASSERT(got.ok());
    void* const low = got.take();
    EXPECT(low < edge && kmalloc.usable_bytes(low).take() >= bytes);
    EXPECT(kmalloc.allocate(bytes).take() >= edge);
    EXPECT(kmalloc.release(low).ok());
  }
  EXPECT(world->manager().valid());
}

TEST(kmalloc, every_misuse_has_its_name_and_changes_nothing) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  KmemCache cache(world->manager().heap(), {.name = "foreign", .object_bytes = 64});
  auto* const small = static_cast<std::byte*>(kmalloc.allocate(100).take());
  auto* const large = static_cast<std::byte*>(kmalloc.allocate(50'000).take());
  void* const foreign = cache.allocate().take();
  const FrameNumber page = world->physical().allocate(Order{0}).take();
  std::byte* const bytes = world->frames().open(page).bytes();
  static int global = 0;
  for (unsigned at = 1; at < 112; ++at)
    EXPECT_EQ(kmalloc.release(small + at).error(), Error::interior_object);
  for (const std::size_t at :
       {std::size_t{1}, std::size_t{16}, kPageSize, 15 * kPageSize, 16 * kPageSize - 1})
    EXPECT_EQ(kmalloc.release(large + at).error(), Error::interior_object);
  EXPECT_EQ(kmalloc.release(foreign).error(), Error::wrong_cache);
  EXPECT_EQ(cache.release(small).error(), Error::wrong_cache);
  EXPECT_EQ(cache.release(large).error(), Error::wrong_cache);
  EXPECT_EQ(kmalloc.release(bytes).error(), Error::wild_object);
  EXPECT_EQ(kmalloc.release(bytes + 64).error(), Error::wild_object);
  EXPECT_EQ(kmalloc.release(&global).error(), Error::wild_object);
  EXPECT_EQ(kmalloc.release(large + 17 * kPageSize).error(), Error::double_free);  // free memory
  EXPECT_EQ(kmalloc.release_sized(small, 90).error(), Error::wrong_size);
  EXPECT_EQ(kmalloc.release_sized(small, 113).error(), Error::wrong_size);
  EXPECT_EQ(kmalloc.release_sized(large, 100).error(), Error::wrong_size);
  EXPECT_EQ(kmalloc.release_sized(large, 20'000).error(), Error::wrong_size);
  const auto frame = static_cast<std::uint32_t>((large - world->frames().map().direct_map) / kPageSize);
  EXPECT_EQ(world->physical().release(FrameNumber{frame}, Order{4}).error(), Error::shared_free);
  EXPECT(world->manager().valid());
  EXPECT(kmalloc.release_sized(small, 97).ok());
  EXPECT(kmalloc.release_sized(large, 50'000).ok());
  EXPECT_EQ(kmalloc.release(small).error(), Error::double_free);
  EXPECT_EQ(kmalloc.release(large).error(), Error::double_free);  // its frames are free
  EXPECT(cache.release(foreign).ok() && world->manager().valid());
}

TEST(kmalloc, resize_stays_where_it_can_and_keeps_the_bytes) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  auto* object = static_cast<std::uint8_t*>(kmalloc.resize(nullptr, 100).take());
  for (unsigned n = 0; n < 100; ++n) object[n] = static_cast<std::uint8_t>(n);
  EXPECT(kmalloc.resize(object, 112).take() == object);
  EXPECT(kmalloc.resize(object, 97).take() == object);
  const auto good = [&](unsigned bytes) {
    for (unsigned n = 0; n < bytes; ++n)
      if (object[n] != static_cast<std::uint8_t>(n)) return false;
    return true;
  };
  for (const std::size_t bytes : {113u, 5000u, 9000u, 70'000u, 100'000u, 3000u, 60u}) {
    auto* const moved = static_cast<std::uint8_t*>(kmalloc.resize(object, bytes).take());
    EXPECT(bytes == 100'000u ? moved == object : moved != object);
    object = moved;
    EXPECT(good(bytes < 100 ? 60 : 100) && kmalloc.usable_bytes(object).take() >= bytes);
  }
  EXPECT_EQ(kmalloc.resize(object, Kmalloc::kMaxBytes + 1).error(), Error::too_big);
  EXPECT_EQ(kmalloc.resize(object + 1, 10).error(), Error::interior_object);
  EXPECT(good(60));
  world->manager().fail_nth(1);
  EXPECT_EQ(kmalloc.resize(object, 1000).error(), Error::no_memory);
  world->manager().fail_nth(1);  // one that stayed could not be released as one of 8 bytes
  EXPECT_EQ(kmalloc.resize(object, 8).error(), Error::no_memory);
  EXPECT(kmalloc.resize(object, 59).take() == object);  // the class is the same
  world->manager().fail_nth(0);
  EXPECT(good(60));
  EXPECT(kmalloc.release(object).ok() && world->manager().valid());
}

// Whatever became of an object before: what it was asked to be last is its size, and the next class is not.
TEST(kmalloc, a_sized_release_knows_the_size_asked_for_last) {
  constexpr std::size_t kSizes[] = {0,   8,    9,    29,   57,   64,   100,    112,
                                    128, 2000, 4096, 4097, 8192, 8193, 20'001, 40'000};
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  const std::uint64_t before = world->physical().levels().free;
  for (const Gfp flags : {Gfp::kernel, Gfp::kernel | Gfp::dma}) {
    for (const std::size_t first : kSizes) {
      for (const std::size_t second : kSizes) {
        void* const object = kmalloc.resize(kmalloc.allocate(first, flags).take(), second, flags).take();
        EXPECT(kmalloc.usable_bytes(object).take() >= second);
        EXPECT_EQ(kmalloc.release_sized(object, 2 * second + 8193).error(), Error::wrong_size);
        if (second > 8) EXPECT_EQ(kmalloc.release_sized(object, second / 2).error(), Error::wrong_size);
        ASSERT(kmalloc.release_sized(object, second).ok());
      }
    }
  }
  EXPECT(all_given_back(world, before));
}

TEST(kmalloc, the_nth_failure_leaves_everything_as_it_was) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  const std::uint64_t before = world->physical().levels().free;
  for (const std::size_t bytes : {24u, 3000u, 30'000u}) {
    for (std::uint64_t n = 1;; ++n) {
      ASSERT(n < 20);
      world->manager().fail_nth(n);
      const auto object = kmalloc.allocate(bytes);
      const bool struck = world->physical().fail_plan().struck();
      world->manager().fail_nth(0);
      EXPECT_EQ(object.ok(), !struck);
      if (object.ok()) ASSERT(kmalloc.release(object.take()).ok());
      EXPECT(all_given_back(world, before));
      if (!struck) break;
    }
  }
}

// What many classes keep when nothing is live: the bound of the floor.
TEST(kmalloc, little_is_kept_after_everything_was_freed) {
  static void* objects[6000];
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  const std::uint64_t before = world->physical().levels().free;
  Random random{unit::seed()};
  unsigned count = 0;
  for (; count < 6000; ++count) {
    const auto object = kmalloc.allocate(16 + random.below(2033));
    if (!object.ok()) break;
    objects[count] = object.take();
  }
  EXPECT(count > 5000);
  while (count > 0) ASSERT(kmalloc.release(objects[--count]).ok());
  EXPECT((before - world->physical().levels().free) * kPageSize <= 2_MiB);
  world->manager().heap().shrink();
  EXPECT((before - world->physical().levels().free) * kPageSize <= 64_KiB);
  EXPECT(all_given_back(world, before));
}

TEST(kmalloc, frames_that_caches_keep_serve_a_request_for_frames) {
  static constexpr PhysRange kLittle[] = {frames(0, 512)};
  static void* objects[2000];
  World world({.memory = kLittle});
  ASSERT(world.ok());
  Kmalloc& kmalloc = kmalloc_of(world);
  for (unsigned n = 0; n < 200; ++n) objects[n] = kmalloc.allocate(1 + n * 10).take();
  for (unsigned n = 0; n < 200; ++n) ASSERT(kmalloc.release(objects[n]).ok());
  const std::uint64_t kept = 512 - world->physical().levels().free;
  EXPECT(kept > 20);
  std::uint64_t taken = 0;
  while (world->physical().allocate(Order{0}, Gfp::atomic).ok()) ++taken;
  EXPECT(taken > 512 - kept);
  EXPECT(world->manager().valid());
}

TEST(kmalloc, the_face_meets_a_misuse_with_the_policy) {
  World world({.memory = kMemory, .on_misuse = MisusePolicy::panic});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  auto* const object = static_cast<std::byte*>(manager.kmalloc().allocate(100).take());
  EXPECT(manager.kfree(nullptr).ok());
  EXPECT_PANIC((void)manager.kfree(object + 8), "inside of an object");
  EXPECT_PANIC((void)manager.kfree(object + 8), "kmalloc-112");
  EXPECT_PANIC((void)manager.kfree_sized(object, 10), "another size");
  EXPECT_PANIC((void)manager.krealloc(object + 1, 10), "inside of an object");
  EXPECT(manager.kfree(object).ok());
  EXPECT_PANIC((void)manager.kfree(object), "double free");
  manager.set_on_misuse(MisusePolicy::refuse);
  EXPECT_EQ(manager.kfree(object).error(), Error::double_free);
}
