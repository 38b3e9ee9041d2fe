// KmemCache: objects come and go, every misuse has its name, and nothing is lost when memory is short.
// SPDX-License-Identifier: MIT
#include "mm/heap/kmem_cache.hpp"

#include <cstring>

#include "mm/base/random.hpp"
#include "mm/heap/heap.hpp"
#include "mm/heap/object_cache.hpp"
#include "tests/unit/unit.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 2048)};
constexpr CacheShape kSmall{.name = "small", .object_bytes = 64};

Heap& heap_of(World& world) { return world->manager().heap(); }

ObjectMagazine& loaded_of(World& world, const KmemCache& cache) {
  return *magazine_in(world->cpu(0).magazines[cache.number()]);
}

FrameNumber frame_of(World& world, const void* object) {
  const auto* const start = world->frames().map().direct_map;
  return FrameNumber{static_cast<std::uint32_t>((static_cast<const std::byte*>(object) - start) / 4096)};
}
Slab& slab_of(World& world, const void* object) {
  return *reinterpret_cast<Slab*>(world->frames()[frame_of(world, object)].owner.load());
}

// After `quiesce` of everything nothing but the slabs of live objects is left.
bool all_given_back(World& world, std::uint64_t free_before) {
  heap_of(world).quiesce();
  world->physical().quiesce();
  return world->physical().levels().free == free_before && world->manager().valid();
}

}  // namespace

TEST(kmem_cache, shapes_that_make_no_sense_are_refused) {
  EXPECT_EQ(KmemCache::check(kSmall), Error::ok);
  EXPECT_EQ(KmemCache::check({.name = "", .object_bytes = 8}), Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "a b", .object_bytes = 8}), Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "a\n", .object_bytes = 8}), Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "0123456789abcdef0123456789abcde", .object_bytes = 8}), Error::ok);
  EXPECT_EQ(KmemCache::check({.name = "0123456789abcdef0123456789abcdef", .object_bytes = 8}),
            Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "a", .object_bytes = 0}), Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "a", .object_bytes = 8, .align = 4}), Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "a", .object_bytes = 8, .align = 24}), Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "a", .object_bytes = 8, .align = 8192}), Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "a", .object_bytes = 8, .zone = Gfp::highmem}), Error::invalid);
  EXPECT_EQ(KmemCache::check({.name = "a", .object_bytes = 32768}), Error::ok);
  EXPECT_EQ(KmemCache::check({.name = "a", .object_bytes = 32769}), Error::too_big);
}

TEST(kmem_cache, objects_are_apart_aligned_and_come_back) {
  static void* objects[700];
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const std::uint64_t before = world->physical().levels().free;
  struct {
    std::uint32_t bytes, align;
    unsigned count;
  } const shapes[] = {{40, 8, 700}, {40, 64, 700}, {40, 4096, 60}, {3000, 8, 60}};
  for (const auto [object_bytes, align, count] : shapes) {
    KmemCache cache(heap_of(world), {.name = "aligned", .object_bytes = object_bytes, .align = align});
    const std::uint32_t stride = cache.cut().stride;
    EXPECT(object_bytes < 3000 || cache.cut().order > 0);  // slabs of several frames, too
    for (unsigned n = 0; n < count; ++n) {
      objects[n] = cache.allocate().take();
      EXPECT(reinterpret_cast<std::uint64_t>(objects[n]) % align == 0);
      std::memset(objects[n], static_cast<int>(n), stride);
    }
    EXPECT(cache.valid());
    EXPECT_EQ(cache.levels().allocated, count);
    for (unsigned n = 0; n < count; ++n) {
      const auto* const bytes = static_cast<const std::uint8_t*>(objects[n]);
      EXPECT(bytes[0] == static_cast<std::uint8_t>(n) && std::memcmp(bytes, bytes + 1, stride - 1) == 0);
      ASSERT(cache.release(objects[n]).ok());
    }
    EXPECT(cache.valid());
    EXPECT_EQ(cache.levels().allocated, 0u);
    EXPECT(cache.retire().ok());
  }
  EXPECT(all_given_back(world, before));
}

TEST(kmem_cache, the_last_released_is_the_next_handed_out) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  KmemCache cache(heap_of(world), kSmall);
  void* const first = cache.allocate().take();
  void* const second = cache.allocate().take();
  ASSERT(cache.release(first).ok() && cache.release(second).ok());
  EXPECT_EQ(cache.allocate().take(), second);
  EXPECT_EQ(cache.allocate().take(), first);
}

// In the window, where the common release looks, and outside of it.
TEST(kmem_cache, every_misuse_has_its_name_and_changes_nothing) {
  static constexpr PhysRange kTwo[] = {frames(0, 64), frames(1024, 1152)};
  static std::byte* objects[8000];
  static std::byte foreign[256];
  World world({.memory = kTwo});
  ASSERT(world.ok());
  KmemCache cache(heap_of(world), {.name = "odd", .object_bytes = 136});
  KmemCache other(heap_of(world), {.name = "other", .object_bytes = 136});
  auto* const stranger = static_cast<std::byte*>(other.allocate().take());
  unsigned count = 0;
  for (auto object = cache.allocate(); object.ok() && count < 8000; object = cache.allocate())
    objects[count++] = static_cast<std::byte*>(object.take());
  bool inside = false, outside = false;
  std::byte* const start = world->frames().map().direct_map;
  for (unsigned n = 0; n < count; n += 97) {
    std::byte* const object = objects[n];
    const auto offset = static_cast<std::uint64_t>(object - cache.record().window.base);
    (offset < cache.record().window.bytes ? inside : outside) = true;
    for (unsigned at = 1; at < 136; ++at)
      EXPECT_EQ(cache.release(object + at).error(), Error::interior_object);
    EXPECT_EQ(other.release(object).error(), Error::wrong_cache);
    EXPECT_EQ(cache.release(stranger).error(), Error::wrong_cache);
    ASSERT(cache.release(object).ok());
    EXPECT_EQ(cache.release(object).error(), Error::double_free);
    EXPECT_EQ(other.release(object).error(), Error::wrong_cache);
    EXPECT_EQ(cache.allocate().take(), object);
  }
  EXPECT(inside && outside);
  EXPECT_EQ(cache.release(foreign).error(), Error::wild_object);
  EXPECT_EQ(cache.release(nullptr).error(), Error::wild_object);
  for (const std::uint64_t address : {~std::uint64_t{0}, std::uint64_t{0x1234'5678'9abc'def0}})
    EXPECT_EQ(cache.release(reinterpret_cast<void*>(address)).error(), Error::wild_object);
  for (const std::uint64_t frame : {64, 600, 1023, 1152, 1600, 1 << 30})  // absent, or beyond all memory
    EXPECT_EQ(cache.release(start + frame * kPageSize).error(), Error::wild_object);
  EXPECT_EQ(cache.release(start - kPageSize).error(), Error::wild_object);
  EXPECT_EQ(cache.levels().allocated, count);
  EXPECT(cache.valid() && other.valid());
}

TEST(kmem_cache, a_late_double_free_is_seen_wherever_the_object_is) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  KmemCache cache(heap_of(world), kSmall);
  static void* objects[400];
  for (void*& object : objects) object = cache.allocate().take();
  for (unsigned n = 0; n < 399; ++n) ASSERT(cache.release(objects[n]).ok());
  for (unsigned n = 0; n < 399; ++n)  // the slabs of some went back to the frames
    EXPECT_EQ(cache.release(objects[n]).error(), Error::double_free);
  EXPECT_EQ(cache.levels().allocated, 1u);
  EXPECT(cache.valid());
}

TEST(kmem_cache, the_tail_and_the_colour_of_a_slab_are_no_objects) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  KmemCache cache(heap_of(world), {.name = "tail", .object_bytes = 720});
  ASSERT(cache.cut().colours > 1);
  static void* objects[64];
  bool shifted = false;
  for (void*& object : objects) {
    object = cache.allocate().take();
    Slab& slab = slab_of(world, object);
    auto* const block =
        reinterpret_cast<std::byte*>(reinterpret_cast<std::uint64_t>(slab.first) & ~std::uint64_t{4095});
    shifted = shifted || slab.first != block;
    if (slab.first != block) EXPECT_EQ(cache.release(block).error(), Error::wild_object);
    std::byte* const end = slab.first + slab.objects * cache.cut().stride;
    if (end < block + (kPageSize << cache.cut().order))
      EXPECT_EQ(cache.release(end).error(), Error::wild_object);
  }
  EXPECT(shifted);
  EXPECT(cache.valid());
}

// Nor while it is wholly free and waits for the next allocation.
TEST(kmem_cache, the_frames_of_a_slab_are_not_released_as_a_block) {
  static void* objects[1000];
  World world({.memory = kMemory});
  ASSERT(world.ok());
  CacheShape shape = kSmall;
  shape.magazines = CacheShape::Magazines::off;
  KmemCache cache(heap_of(world), shape);
  for (void*& object : objects) object = cache.allocate().take();
  ASSERT(cache.cut().order == 0);
  const auto refused = [&](void* object) {
    return world->physical().release(frame_of(world, object), Order{0}).error() == Error::shared_free;
  };
  EXPECT(refused(objects[0]));
  for (void* const object : objects) ASSERT(cache.release(object).ok());
  ASSERT(cache.levels().empty_slabs > 0);
  unsigned kept = 0;
  for (void* const object : objects) {
    if (world->frames()[frame_of(world, object)].owner == 0) continue;  // no slab any more
    ++kept;
    EXPECT(refused(object));
  }
  EXPECT(kept > 0);
  EXPECT(world->manager().valid());
}

TEST(kmem_cache, shrink_keeps_what_is_allocated) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const std::uint64_t before = world->physical().levels().free;
  KmemCache cache(heap_of(world), kSmall);
  static void* objects[1000];
  for (void*& object : objects) object = cache.allocate().take();
  for (unsigned n = 0; n < 1000; ++n)
    if (n % 100 != 0) ASSERT(cache.release(objects[n]).ok());
  EXPECT(cache.levels().cached > 0);
  EXPECT(cache.shrink() > 0);
  EXPECT_EQ(cache.levels().cached, 0u);
  EXPECT_EQ(cache.levels().allocated, 10u);
  EXPECT_EQ(cache.levels().empty_slabs, 0u);
  EXPECT(cache.levels().slabs <= 10);
  EXPECT_EQ(cache.retire().error(), Error::busy);
  EXPECT(cache.valid());
  for (unsigned n = 0; n < 1000; n += 100) ASSERT(cache.release(objects[n]).ok());
  EXPECT(cache.retire().ok());
  EXPECT(heap_of(world).cache(cache.number()) == nullptr);
  EXPECT(all_given_back(world, before));
}

TEST(kmem_cache, what_a_cache_keeps_is_bounded) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  KmemCache cache(heap_of(world), {.name = "big", .object_bytes = 1024});
  static void* objects[3000];
  for (void*& object : objects) object = cache.allocate().take();
  for (void* object : objects) ASSERT(cache.release(object).ok());
  EXPECT_EQ(cache.levels().allocated, 0u);
  EXPECT(cache.levels().held_free_bytes(cache.cut()) <= IdleGauge::kIdleBytes + (256 << 10));
  EXPECT(cache.levels().cached > 0);
  EXPECT(cache.valid());
}

TEST(kmem_cache, dma_objects_lie_below_16_mib) {
  static constexpr PhysRange kBoth[] = {frames(4000, 4096), frames(4096, 4596)};
  World world({.memory = kBoth});
  ASSERT(world.ok());
  KmemCache low(heap_of(world), {.name = "low", .object_bytes = 256, .zone = Gfp::dma});
  KmemCache any(heap_of(world), {.name = "any", .object_bytes = 256});
  const auto* const edge = world->frames().map().direct_map + 16_MiB;
  for (const Gfp flags : {Gfp::kernel | Gfp::dma, Gfp::dma, Gfp::kernel, Gfp::atomic | Gfp::dma}) {
    const auto object = low.allocate(flags);
    ASSERT(object.ok());
    EXPECT(object.take() < edge);
  }
  void* const object = any.allocate().take();
  EXPECT(object >= edge);
  ASSERT(any.release(object).ok());
  EXPECT_EQ(any.allocate(Gfp::dma).error(), Error::invalid);
  EXPECT_EQ(any.allocate(static_cast<Gfp>(255)).error(), Error::invalid);
  EXPECT_EQ(any.levels().allocated, 0u);
  EXPECT(low.valid() && any.valid());
}

// Each n lets another request fail: of frames, of a slab's record, of the object itself.
TEST(kmem_cache, the_nth_failure_leaves_everything_as_it_was) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const std::uint64_t before = world->physical().levels().free;
  KmemCache cache(heap_of(world), {.name = "failing", .object_bytes = 512});
  bool sites[8] = {};
  for (std::uint64_t n = 1;; ++n) {
    ASSERT(n < 20);
    world->manager().fail_nth(n);
    const auto object = cache.allocate();
    const FailPlan& plan = world->physical().fail_plan();
    const bool struck = plan.struck();
    if (struck) sites[static_cast<unsigned>(plan.last_site())] = true;
    world->manager().fail_nth(0);
    EXPECT(cache.valid());
    EXPECT_EQ(object.ok(), !struck);
    EXPECT_EQ(cache.levels().allocated, object.ok() ? 1u : 0u);
    if (object.ok()) ASSERT(cache.release(object.take()).ok());
    EXPECT(all_given_back(world, before));
    if (!struck) break;
  }
  EXPECT(sites[static_cast<unsigned>(FailSite::cache_object)] &&
         sites[static_cast<unsigned>(FailSite::frame_block)]);
}

TEST(kmem_cache, all_of_memory_can_be_objects_and_come_back) {
  static constexpr PhysRange kLittle[] = {frames(0, 64)};
  static void* objects[4096];
  World world({.memory = kLittle});
  ASSERT(world.ok());
  const std::uint64_t before = world->physical().levels().free;
  KmemCache cache(heap_of(world), kSmall);
  unsigned count = 0;
  while (count < 4096) {
    const auto object = cache.allocate();
    if (!object.ok()) {
      EXPECT_EQ(object.error(), Error::no_memory);
      break;
    }
    objects[count++] = object.take();
  }
  EXPECT(count > 3000 && count < 4096);
  EXPECT(cache.valid());
  ASSERT(cache.release(objects[--count]).ok());
  EXPECT_EQ(cache.allocate().take(), objects[count]);
  ++count;
  while (count > 0) ASSERT(cache.release(objects[--count]).ok());
  EXPECT(cache.retire().ok());
  EXPECT(all_given_back(world, before));
}

TEST(kmem_cache, random_traffic_keeps_contents_and_comes_back) {
  struct Held {
    void* object;
    KmemCache* cache;
    std::uint64_t stamp;
  };
  static Held held[3000];
  World world({.memory = kMemory, .cpus = 2});
  ASSERT(world.ok());
  const std::uint64_t before = world->physical().levels().free;
  // Not on the stack: it is a kernel's here.
  KmemCache* const caches[] = {
      unit::fresh<KmemCache>(heap_of(world), CacheShape{.name = "c24", .object_bytes = 24}),
      unit::fresh<KmemCache>(heap_of(world), CacheShape{.name = "c64", .object_bytes = 64}),
      unit::fresh<KmemCache>(heap_of(world), CacheShape{.name = "c200", .object_bytes = 200, .align = 64}),
      unit::fresh<KmemCache>(heap_of(world), CacheShape{.name = "c1000", .object_bytes = 1000})};
  for (KmemCache* const cache : caches) ASSERT(cache != nullptr);
  Random random{unit::seed()};
  unsigned count = 0;
  for (unsigned n = 0; n < 40000; ++n) {
    const bool growing = (n / 4000) % 2 == 0;
    if (n % 1000 == 500) unit::stand_on(&world->cpu(n / 1000 % 2));
    if (random.below(100) < (growing ? 70u : 30u) && count < 3000) {
      KmemCache& cache = *caches[random.below(4)];
      const auto object = cache.allocate();
      if (!object.ok()) continue;
      held[count] = {object.take(), &cache, random.next()};
      std::memcpy(held[count].object, &held[count].stamp, 8);
      std::memcpy(static_cast<std::byte*>(held[count].object) + cache.object_bytes() - 8, &held[count].stamp,
                  8);
      ++count;
    } else if (count > 0) {
      const auto slot = random.below(count);
      const Held one = held[slot];
      held[slot] = held[--count];
      ASSERT(std::memcmp(one.object, &one.stamp, 8) == 0);
      ASSERT(std::memcmp(static_cast<std::byte*>(one.object) + one.cache->object_bytes() - 8, &one.stamp,
                         8) == 0);
      ASSERT(one.cache->release(one.object).ok());
    }
    if (n % 5000 == 0) EXPECT(world->manager().valid());
    if (n % 7000 == 0) heap_of(world).shrink();
  }
  for (; count > 0; --count) ASSERT(held[count - 1].cache->release(held[count - 1].object).ok());
  for (KmemCache* const cache : caches) EXPECT(cache->retire().ok());
  unit::stand_on(&world->cpu(0));
  EXPECT(all_given_back(world, before));
}

TEST(kmem_cache, an_object_put_in_twice_stops_the_machine) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  KmemCache cache(heap_of(world), kSmall);
  void* const object = cache.allocate().take();
  ASSERT(cache.release(object).ok());
  ObjectMagazine& loaded = loaded_of(world, cache);
  const std::uint64_t count = loaded.size();
  loaded.objects[count] = object;
  loaded.states[count] = loaded.states[count - 1];
  loaded.set_size(count + 1);
  EXPECT(!cache.valid());
  EXPECT_EQ(cache.allocate().take(), object);
  EXPECT_PANIC((void)cache.allocate(), "cached");
}

TEST(kmem_cache, valid_finds_what_is_wrong) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  KmemCache cache(heap_of(world), kSmall);
  void* const object = cache.allocate().take();
  Slab& slab = slab_of(world, object);
  ASSERT(cache.valid());
  const auto noticed = [&](auto& field, auto value) {
    const auto good = static_cast<std::remove_cvref_t<decltype(value)>>(field);
    field = value;
    const bool seen = !cache.valid();
    field = good;
    return seen && cache.valid();
  };
  EXPECT(noticed(slab.taken, std::uint16_t{3}));
  EXPECT(noticed(slab.objects, std::uint64_t{63}));
  EXPECT(noticed(slab.shift, std::uint8_t{5}));
  EXPECT(noticed(slab.number, std::uint8_t{0}));
  EXPECT(noticed(slab.inverse, std::uint64_t{5}));
  EXPECT(noticed(slab.first, slab.first + 8));
  EXPECT(noticed(slab.free_bits()[0], ~std::uint64_t{0}));
  EXPECT(noticed(slab.states()[0], std::uint8_t{3}));
  EXPECT(noticed(slab.states()[slab.index_of(reinterpret_cast<std::uint64_t>(object))], std::uint8_t{0}));
  EXPECT(noticed(slab.states()[slab.index_of(reinterpret_cast<std::uint64_t>(object))], std::uint8_t{1}));
  EXPECT(noticed(slab.head->uses, slab.head->uses.load() + Frame::kMapping));
  EXPECT(noticed(slab.head->uses, slab.head->uses.load() - Frame::kReference));
  EXPECT(noticed(slab.head->tag, std::uint8_t{0}));
  EXPECT(noticed(slab.head->index, 1u));
  EXPECT(noticed(slab.head->owner, std::uint64_t{0}));
  ObjectMagazine& loaded = loaded_of(world, cache);
  EXPECT(noticed(loaded.count, std::uint64_t{61}));
  EXPECT(noticed(loaded.count, loaded.size() - 1));
  EXPECT(noticed(loaded.objects[0], static_cast<void*>(&slab)));
  EXPECT(noticed(loaded.states[0], loaded.states[1]));
  EXPECT(noticed(loaded.limit, std::uint64_t{61}));
}

namespace {

struct Counted {
  static inline int alive = 0;
  std::uint64_t one, two;
  Counted(std::uint64_t a, std::uint64_t b) : one(a), two(b) { ++alive; }
  ~Counted() { --alive; }
};

}  // namespace

TEST(kmem_cache, typed_objects_are_made_and_destroyed) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Counted::alive = 0;
  ObjectCache<Counted> cache(heap_of(world), "counted");
  Counted* const made = cache.make(3u, 4u).take();
  EXPECT(made->one == 3 && made->two == 4 && Counted::alive == 1);
  cache.destroy(made);
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_PANIC(cache.destroy(made), "misuse_of");
  EXPECT_EQ(Counted::alive, 0);
}

TEST(kmem_cache, two_caches_of_one_name_are_two_and_numbers_come_back) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Heap& heap = heap_of(world);
  KmemCache* const first = heap.create(kSmall).take();
  KmemCache* const second = heap.create(kSmall).take();
  EXPECT(first->number() != second->number());
  void* const object = first->allocate().take();
  EXPECT_EQ(second->release(object).error(), Error::wrong_cache);
  const unsigned number = second->number();
  ASSERT(heap.destroy(*second).ok());
  EXPECT_EQ(heap.create(kSmall).take()->number(), number);
  ASSERT(first->release(object).ok());
}

namespace {

unsigned constructed = 0;

void construct(void* object) {
  ++constructed;
  *static_cast<std::uint64_t*>(object) = 0x5eed;
}
void destruct(void*) { --constructed; }

}  // namespace

TEST(kmem_cache, objects_are_constructed_with_their_slab_and_stay_so) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  constructed = 0;
  KmemCache* const cache =
      heap_of(world)
          .create({.name = "made", .object_bytes = 48, .construct = construct, .destruct = destruct})
          .take();
  static void* objects[200];
  for (void*& object : objects) {
    object = cache->allocate().take();
    EXPECT_EQ(*static_cast<std::uint64_t*>(object), 0x5eedu);
  }
  EXPECT_EQ(constructed, cache->levels().objects);
  for (void* const object : objects) ASSERT(cache->release(object).ok());
  EXPECT_EQ(*static_cast<std::uint64_t*>(cache->allocate().take()), 0x5eedu);
  EXPECT_EQ(constructed, cache->levels().objects);
  EXPECT_EQ(heap_of(world).destroy(*cache).error(), Error::busy);
  const void* live[2] = {};
  EXPECT_EQ(cache->live_objects(live), 1u);
  ASSERT(live[0] != nullptr && live[1] == nullptr);
  ASSERT(cache->release(const_cast<void*>(live[0])).ok());
  EXPECT(heap_of(world).destroy(*cache).ok());
  EXPECT_EQ(constructed, 0u);
  EXPECT(world->manager().valid());
}

TEST(kmem_cache, caches_are_made_until_there_is_no_number_left) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const std::uint64_t before = world->physical().levels().free;
  static KmemCache* made[kCacheSlots];
  unsigned count = 0;
  for (;;) {
    const auto cache = heap_of(world).create(kSmall);
    if (!cache.ok()) {
      EXPECT_EQ(cache.error(), Error::too_big);
      break;
    }
    ASSERT(count < kCacheSlots);
    made[count++] = cache.take();
  }
  EXPECT(count > 150);
  EXPECT_EQ(heap_of(world).create({.name = "", .object_bytes = 8}).error(), Error::invalid);
  EXPECT_EQ(heap_of(world).destroy(*heap_of(world).cache(1)).error(), Error::not_found);
  while (count > 0) EXPECT(heap_of(world).destroy(*made[--count]).ok());
  EXPECT(all_given_back(world, before));
}

TEST(kmem_cache, many_at_once_are_all_or_none) {
  static constexpr PhysRange kLittle[] = {frames(0, 64)};
  static void* objects[4096];
  World world({.memory = kLittle});
  ASSERT(world.ok());
  KmemCache cache(heap_of(world), kSmall);
  EXPECT_EQ(cache.allocate_bulk(objects).error(), Error::no_memory);
  EXPECT_EQ(cache.levels().allocated, 0u);
  const std::span<void*> some(objects, 500);
  ASSERT(cache.allocate_bulk(some).ok());
  EXPECT_EQ(cache.levels().allocated, 500u);
  void* const good = some[321];
  some[321] = static_cast<std::byte*>(good) + 8;
  EXPECT_EQ(cache.release_bulk(some).error(), Error::interior_object);
  EXPECT_EQ(cache.levels().allocated, 500u);
  some[321] = some[7];
  EXPECT_EQ(cache.release_bulk(some).error(), Error::double_free);
  EXPECT_EQ(cache.levels().allocated, 500u);
  EXPECT(cache.valid());
  some[321] = good;
  EXPECT(cache.release_bulk(some).ok());
  EXPECT_EQ(cache.levels().allocated, 0u);
  EXPECT(cache.valid());
}
