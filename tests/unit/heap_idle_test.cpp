// What a heap holds when nothing is live any more, however it was released, and when there is nothing to release.
// SPDX-License-Identifier: MIT
#include <utility>

#include "mm/base/random.hpp"
#include "mm/heap/heap.hpp"
#include "mm/heap/kmalloc.hpp"
#include "tests/unit/unit.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 5120)};
constexpr std::uint64_t kLiveBytes = 12 << 20;
constexpr std::uint64_t kHeldBytes = 2 << 20;     // per CPU, after the releases alone
constexpr std::uint64_t kShrunkBytes = 64 << 10;  // after shrink()

std::size_t mixed(Random& random) { return random.between(16, 2048); }
std::size_t small(Random&) { return 64; }
std::size_t large(Random& random) { return random.between(2048, 8192); }

MemoryManager& manager_of(World& world) {
  CHECK(world.ok());
  return world->manager();
}

// A machine, and what was allocated on it, in the order in which it is to be released.
struct Live {
  Live()
      : world({.memory = kMemory}),
        objects(reinterpret_cast<void**>(unit::storage(kMost * sizeof(void*)).data())),
        kmalloc(manager_of(world).kmalloc()),
        heap(manager_of(world).heap()) {
    CHECK(objects != nullptr);
  }

  void fill(std::size_t (*size)(Random&)) {
    for (std::uint64_t bytes = 0; bytes < kLiveBytes && count < kMost;) {
      const std::size_t one = size(random);
      objects[count++] = kmalloc.allocate(one).take();
      bytes += one;
    }
  }
  void shuffle() {
    for (std::size_t left = count; left > 1; --left)
      std::swap(objects[left - 1], objects[random.below(left)]);
  }
  void sort_by_class() {
    std::size_t sorted = 0;
    for (const std::uint32_t bytes : kSizeClasses)
      for (std::size_t n = sorted; n < count; ++n)
        if (kmalloc.usable_bytes(objects[n]).take() == bytes) std::swap(objects[sorted++], objects[n]);
  }
  void release_all() {
    while (count > 0) CHECK(kmalloc.release(objects[--count]).ok());
  }
  std::uint64_t held() const {
    std::uint64_t bytes = 0;
    heap.for_each([&bytes](const KmemCache& cache) {
      bytes += cache.levels().slabs * bytes_in(Order{cache.cut().order});
    });
    return bytes;
  }

  static constexpr std::size_t kMost = kLiveBytes / 64 + 1;
  World world;
  Random random{unit::seed()};
  void** const objects;
  Kmalloc& kmalloc;
  Heap& heap;
  std::size_t count = 0;
};

void expect_little_held(Live& live) {
  live.release_all();
  EXPECT(live.held() <= kHeldBytes);
  EXPECT(live.world->manager().valid());
  (void)live.heap.shrink();
  EXPECT(live.held() <= kShrunkBytes);
}

}  // namespace

TEST(heap_idle, little_is_held_of_mixed_sizes_released_at_random) {
  Live live;
  live.fill(mixed);
  live.shuffle();
  expect_little_held(live);
}

TEST(heap_idle, little_is_held_of_mixed_sizes_released_in_order) {
  Live live;
  live.fill(mixed);
  expect_little_held(live);
}

TEST(heap_idle, little_is_held_of_one_size_released_at_random) {
  Live live;
  live.fill(small);
  live.shuffle();
  expect_little_held(live);
}

TEST(heap_idle, little_is_held_of_large_objects_released_at_random) {
  Live live;
  live.fill(large);
  live.shuffle();
  expect_little_held(live);
}

// One class after the other: what the first keep nobody asks for again.
TEST(heap_idle, little_is_held_of_classes_that_are_not_used_any_more) {
  Live live;
  live.fill(mixed);
  live.shuffle();
  live.sort_by_class();
  expect_little_held(live);
}

// A heap that has been busy and is busy again serves as before: its magazines grow with what is asked for.
TEST(heap_idle, magazines_grow_again) {
  Live live;
  live.fill(small);
  live.shuffle();
  live.release_all();
  static void* objects[4096];
  KmemCache& cache = *live.heap.slab_at(live.kmalloc.allocate(64).take())->cache;
  for (void*& object : objects) object = cache.allocate().take();
  for (void* const object : objects) EXPECT(cache.release(object).ok());
  EXPECT(cache.levels().cached >= ObjectMagazine::kObjects);
  EXPECT(live.world->manager().valid());
}

// What the slow paths add up is what a count of the slabs finds.
TEST(heap_idle, the_gauge_knows_what_is_out) {
  Live live;
  const auto agrees = [&live] {
    std::uint64_t taken = 0;
    std::uint64_t in_depots = 0;
    live.heap.for_each([&](const KmemCache& cache) {
      const SlabLists& lists = *cache.record().lists;
      taken += lists.taken * cache.cut().stride;
      for (const ObjectMagazine& magazine : cache.record().depot->full)
        in_depots += magazine.size() * cache.cut().stride;
    });
    return live.heap.idle().slab_bytes() == live.held() && live.heap.idle().out_bytes() == taken - in_depots;
  };
  EXPECT(agrees());
  live.fill(mixed);
  EXPECT(agrees());
  live.shuffle();
  for (std::size_t n = live.count / 8; n > 0; --n)
    ASSERT(live.kmalloc.release(live.objects[--live.count]).ok());
  EXPECT(agrees());
  (void)live.heap.shrink();
  EXPECT(agrees());
  live.release_all();
  EXPECT(agrees());
  live.heap.quiesce();
  EXPECT(agrees() && live.heap.idle().out_bytes() == 0);
}
