// GuardPool: which allocations it serves, what it finds, and that everybody who asks knows its objects.
// SPDX-License-Identifier: MIT
#include "mm/heap/guard_pool.hpp"

#include <cstring>

#include "mm/who.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr std::uint32_t kSlots = 4;
constexpr std::uint32_t kFirst = 64;
constexpr PhysRange kMemory[] = {frames(4, 5120)};
constexpr PhysRange kReserved[] = {frames(kFirst, kFirst + 16)};
constexpr MachineShape kShape{.memory = kMemory, .reserved = kReserved};

// Remembers what it was told; nothing is really out of reach.
class Hider final : public FrameHider {
 public:
  void hide(FrameNumber first, Order order) override { set(first, order, true); }
  void show(FrameNumber first, Order order) override { set(first, order, false); }
  bool hides(FrameNumber number) const { return hidden_ >> (raw(number) - kFirst) & 1; }

 private:
  void set(FrameNumber first, Order order, bool hidden) {
    CHECK(order == Order{0});
    const std::uint64_t bit = std::uint64_t{1} << (raw(first) - kFirst);
    hidden_ = hidden ? hidden_ | bit : hidden_ & ~bit;
  }
  std::uint64_t hidden_ = 0;
};

// A machine with a pool that serves every slow allocation.
struct Guarded4 {
  World world{kShape};
  Hider hider;

  explicit Guarded4(std::uint32_t every = 1) {
    if (world.ok())
      world->manager().heap().guards().start(world->physical().frames(), hider, FrameNumber{kFirst}, kSlots,
                                             every);
  }
  MemoryManager& manager() { return world->manager(); }
  GuardPool& pool() { return manager().heap().guards(); }
  Kmalloc& kmalloc() { return manager().kmalloc(); }
  FrameNumber frame(const void* object) {
    return world->physical().frames().frame_behind(reinterpret_cast<std::uint64_t>(object));
  }
  bool guards(const void* object) {
    const Slab* const slab = manager().heap().slab_at(object);
    return slab != nullptr && slab->in_guard_pool();
  }
  // A guarded object that ends at its page's end, or as near to it as its alignment lets it.
  std::byte* at_the_end(std::size_t bytes) {
    for (;;) {
      auto* const object = static_cast<std::byte*>(kmalloc().allocate(bytes).take());
      if (reinterpret_cast<std::uint64_t>(object) % kPageSize != 0) return object;
      CHECK(kmalloc().release(object).ok());
    }
  }
};

}  // namespace

TEST(guard_pool, takes_a_small_share_of_memory) {
  for (const std::uint64_t memory : {16_MiB, 64_MiB, 256_MiB, 1_GiB, 64_GiB}) {
    const std::uint32_t slots = GuardPool::slots_for(memory);
    EXPECT(slots >= 1 && slots <= GuardPool::kMostSlots);
    EXPECT(GuardPool::frames_for(slots) * kPageSize <= memory / 650);
  }
  EXPECT_EQ(GuardPool::slots_for(7_MiB), 0u);  // every frame counts there
}

TEST(guard_pool, serves_every_nth_that_leaves_the_fast_path) {
  if (!kHasGuardPool) return;
  Guarded4 it(3);
  ASSERT(it.world.ok());
  KmemCache* const cache = it.manager().heap().create({.name = "plain", .object_bytes = 4000}).take();
  unsigned guarded = 0;
  static void* objects[9];
  it.manager().heap().set_service(FrameCaches::Service::on);
  for (void*& object : objects) {
    object = cache->allocate().take();
    guarded += it.guards(object);
    cache->quiesce();  // the next one leaves the fast path, too
  }
  EXPECT_EQ(guarded, 3u);
  EXPECT_EQ(cache->levels().guarded, 3u);
  EXPECT_EQ(cache->levels().allocated, 6u);
  for (void* const object : objects) EXPECT(cache->release(object).ok());
  EXPECT_EQ(cache->levels().guarded, 0u);
  EXPECT(it.manager().valid());
}

TEST(guard_pool, puts_an_object_at_an_edge_between_hidden_pages) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  bool begins = false;
  bool ends = false;
  for (unsigned n = 0; n < 64; ++n) {
    const std::size_t bytes = 1 + n * 7;
    auto* const object = static_cast<std::byte*>(it.kmalloc().allocate(bytes).take());
    ASSERT(it.guards(object));
    const FrameNumber page = it.frame(object);
    EXPECT(!it.hider.hides(page));
    EXPECT(it.hider.hides(FrameNumber{raw(page) - 1}) && it.hider.hides(page + 1));
    const std::uint64_t at = reinterpret_cast<std::uint64_t>(object) % kPageSize;
    EXPECT(at % (bytes < 9 ? 8 : 16) == 0);
    begins = begins || at == 0;
    ends = ends || at + bytes > kPageSize - 64;
    EXPECT_EQ(it.kmalloc().usable_bytes(object).take(), bytes);
    std::memset(object, 1, bytes);
    EXPECT(it.kmalloc().release_sized(object, bytes).ok());
    EXPECT(it.hider.hides(page));
  }
  EXPECT(begins && ends);
  EXPECT(it.manager().valid());
}

TEST(guard_pool, lets_a_released_page_wait_until_all_others_were_used) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  static FrameNumber pages[2 * kSlots];
  for (FrameNumber& page : pages) {
    void* const object = it.kmalloc().allocate(64).take();
    page = it.frame(object);
    EXPECT(it.kmalloc().release(object).ok());
  }
  for (unsigned n = 0; n < kSlots; ++n) {
    EXPECT(pages[n] == pages[n + kSlots]);
    for (unsigned other = 0; other < n; ++other) EXPECT(pages[n] != pages[other]);
  }
}

TEST(guard_pool, refuses_to_take_back_what_was_written_around) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  std::byte* const object = it.at_the_end(50);
  for (const auto& [offset, error] : {std::pair{50, Error::overflow},
                                      {60, Error::overflow},
                                      {-1, Error::underflow},
                                      {-static_cast<int>(GuardPool::kZone), Error::underflow}}) {
    const std::byte was = object[offset];
    object[offset] = std::byte{7};
    EXPECT_EQ(it.manager().kfree(object).error(), error);
    const MisuseReport report = it.manager().last_misuse();
    EXPECT_EQ(report.address, reinterpret_cast<std::uint64_t>(object + offset));
    EXPECT_EQ(report.object, reinterpret_cast<std::uint64_t>(object));
    EXPECT_EQ(report.requested, 50u);
    EXPECT(report.allocated.site != 0 && report.freed.site == 0);
    EXPECT(std::string_view(report.keeper_name) == "kmalloc-56" ||
           std::string_view(report.keeper_name) == "kmalloc-64");
    EXPECT(it.kmalloc().misuse_of(object) == Error::ok);  // nothing changed
    object[offset] = was;
  }
  EXPECT(it.manager().kfree(object).ok());
  EXPECT(it.manager().valid());
}

TEST(guard_pool, judges_every_release) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  KmemCache* const other = it.manager().heap().create({.name = "other", .object_bytes = 64}).take();
  std::byte* const object = it.at_the_end(64);
  EXPECT_EQ(it.manager().kfree(object + 8).error(), Error::interior_object);
  EXPECT_EQ(it.manager().kfree(object - 8).error(), Error::wild_object);
  EXPECT_EQ(it.manager().kfree(object - kPageSize).error(), Error::wild_object);
  EXPECT_EQ(it.manager().cache_free(*other, object).error(), Error::wrong_cache);
  EXPECT_EQ(it.manager().kfree_sized(object, 300).error(), Error::wrong_size);
  EXPECT(it.manager().kfree(object).ok());
  EXPECT_EQ(it.manager().kfree(object).error(), Error::double_free);
  const MisuseReport report = it.manager().last_misuse();
  EXPECT(report.object == reinterpret_cast<std::uint64_t>(object) && report.freed.site != 0);
}

TEST(guard_pool, a_resized_object_leaves_it_with_its_contents) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  std::byte* const object = it.at_the_end(50);
  std::memset(object, 0x5a, 50);
  auto* const moved = static_cast<std::byte*>(it.manager().krealloc(object, 52).take());
  EXPECT(moved != object && it.hider.hides(it.frame(object)));
  for (unsigned n = 0; n < 50; ++n) EXPECT(moved[n] == std::byte{0x5a});
  moved[-1] = moved[-1] ^ std::byte{1};  // who cannot give it back keeps it
  if (it.guards(moved) && reinterpret_cast<std::uint64_t>(moved) % kPageSize != 0) {
    EXPECT_EQ(it.manager().krealloc(moved, 40).error(), Error::underflow);
    EXPECT_EQ(it.kmalloc().usable_bytes(moved).take(), 52u);
  }
  moved[-1] = moved[-1] ^ std::byte{1};
  EXPECT(it.manager().kfree(moved).ok());
}

TEST(guard_pool, many_at_once_are_released_all_or_none) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  KmemCache* const cache = it.manager().heap().create({.name = "bulk", .object_bytes = 100}).take();
  static void* objects[6];
  ASSERT(cache->allocate_bulk(objects).ok());
  unsigned guarded = 0;
  for (void* const object : objects) guarded += it.guards(object);
  EXPECT_EQ(guarded, kSlots);
  auto* const last = static_cast<std::byte*>(objects[3]);
  ASSERT(it.guards(last));
  last[100] = last[100] ^ std::byte{1};
  EXPECT_EQ(cache->release_bulk(objects).error(), Error::overflow);
  for (void* const object : objects) EXPECT(cache->misuse_of(object) == Error::ok);
  last[100] = last[100] ^ std::byte{1};
  EXPECT(cache->release_bulk(objects).ok());
  EXPECT_EQ(cache->levels().guarded + cache->levels().allocated, 0u);
  EXPECT(it.manager().valid());
}

TEST(guard_pool, a_cache_with_an_object_there_stays) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  Heap& heap = it.manager().heap();
  KmemCache* const cache = heap.create({.name = "short", .object_bytes = 100}).take();
  void* const object = cache->allocate().take();
  ASSERT(it.guards(object));
  EXPECT_EQ(heap.destroy(*cache).error(), Error::busy);
  static const void* live[2];
  EXPECT_EQ(cache->live_objects(live), 1u);
  EXPECT(live[0] == object);
  ASSERT(cache->release(object).ok() && heap.destroy(*cache).ok());
  EXPECT_EQ(it.manager().kfree(object).error(), Error::wild_object);  // nobody knows it any more
  EXPECT(it.manager().valid());
}

TEST(guard_pool, leaves_alone_what_needs_its_place) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  Heap& heap = it.manager().heap();
  const CacheShape shapes[] = {
      {.name = "made", .object_bytes = 64, .construct = [](void* object) { std::memset(object, 1, 64); }},
      {.name = "large", .object_bytes = 5000},
      {.name = "low", .object_bytes = 64, .zone = Gfp::dma}};
  for (const CacheShape& shape : shapes) {
    KmemCache* const cache = heap.create(shape).take();
    void* const object = cache->allocate().take();
    EXPECT(!it.guards(object));
    EXPECT(cache->release(object).ok());
  }
  it.manager().fail_nth(1);
  EXPECT_EQ(it.kmalloc().allocate(64).error(), Error::no_memory);
  it.manager().fail_nth(0);
  EXPECT(it.manager().valid());
}

TEST(guard_pool, knows_which_object_a_stray_access_was_meant_for) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  KmemCache* const cache = it.manager().heap().create({.name = "page", .object_bytes = kPageSize}).take();
  const auto lower = reinterpret_cast<std::uint64_t>(cache->allocate().take());
  const auto upper = reinterpret_cast<std::uint64_t>(cache->allocate().take());
  ASSERT(upper == lower + 2 * kPageSize);
  const auto check = [&](std::uint64_t address, std::uint64_t object, Error error) {
    const Slab* const slab = it.pool().slot_meant(address);
    ASSERT(slab != nullptr);
    const MisuseReport report = report_on_guard(*slab, address);
    EXPECT_EQ(report.object, object);
    EXPECT_EQ(report.error, error);
    EXPECT(std::string_view(report.keeper_name) == "page" && report.requested == kPageSize);
  };
  check(lower + kPageSize, lower, Error::overflow);
  check(upper - 1, upper, Error::underflow);
  check(lower - 1, lower, Error::underflow);
  check(upper + kPageSize + 100, upper, Error::overflow);
  ASSERT(cache->release(reinterpret_cast<void*>(upper)).ok());
  check(upper + 5, upper, Error::use_after_free);
  EXPECT(it.pool().slot_meant(lower - kPageSize - 1) == nullptr);
  EXPECT(it.pool().slot_meant(0) == nullptr);
  EXPECT(cache->release(reinterpret_cast<void*>(lower)).ok());
}

TEST(guard_pool, is_known_to_who_asks_for_owners) {
  if (!kHasGuardPool) return;
  Guarded4 it;
  ASSERT(it.world.ok());
  std::byte* const object = it.at_the_end(64);
  const std::byte* const direct = it.world->physical().frames().map().direct_map;
  const PhysAddr at{static_cast<std::uint64_t>(object - direct)};
  const AddressOwner found = owner_of(it.manager(), at + 9);
  EXPECT(found.use == FrameUse::guard_pool && found.index == 0 && found.offset == 9);
  EXPECT(found.cache != nullptr && found.cache->name() == "kmalloc-64");
  const AddressOwner before = owner_of(it.manager(), at - 1);
  EXPECT(before.use == FrameUse::guard_pool && before.index == before.slab->objects);
  const AddressOwner guard = owner_of(it.manager(), at - kPageSize);
  EXPECT(guard.use == FrameUse::guard_pool && guard.slab == nullptr);
  EXPECT(it.manager().kfree(object).ok());
}
