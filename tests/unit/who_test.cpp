// owner_of: every kind of frame, and every byte of a slab.
// SPDX-License-Identifier: MIT
#include "mm/who.hpp"

#include <cstring>
#include <utility>

#include "tests/unit/unit.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(4, 5120)};
constexpr PhysRange kReserved[] = {frames(8, 10)};

PhysAddr physical_of(World& world, const void* address) {
  const std::byte* const direct = world->physical().frames().map().direct_map;
  return PhysAddr{static_cast<std::uint64_t>(static_cast<const std::byte*>(address) - direct)};
}

}  // namespace

TEST(who, tells_every_use_of_a_frame) {
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  const MemoryManager& manager = world->manager();
  EXPECT(owner_of(manager, PhysAddr{0}).use == FrameUse::none);
  EXPECT(owner_of(manager, PhysAddr{~std::uint64_t{0}}).use == FrameUse::none);
  EXPECT(owner_of(manager, address_of(FrameNumber{9})).use == FrameUse::reserved);
  const FrameNumber block = world->physical().allocate(Order{3}).take();
  const AddressOwner inside = owner_of(manager, address_of(block) + 5 * kPageSize + 7);
  EXPECT(inside.use == FrameUse::frames && inside.block == block && inside.order == Order{3});
  EXPECT_EQ(raw(inside.frame), raw(block) + 5);
  ASSERT(world->physical().release(block, Order{3}).ok());
  EXPECT(owner_of(manager, address_of(block) + 5 * kPageSize).use == FrameUse::magazine);
  world->physical().quiesce();
  EXPECT(owner_of(manager, address_of(block)).use == FrameUse::free);
}

TEST(who, tells_every_byte_of_a_slab) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  KmemCache* const cache = manager.heap().create({.name = "who", .object_bytes = 200}).take();
  auto* const object = static_cast<std::byte*>(cache->allocate().take());
  for (unsigned byte = 0; byte < cache->cut().stride; ++byte) {
    const AddressOwner found = owner_of(manager, physical_of(world, object + byte));
    ASSERT(found.use == FrameUse::slab && found.cache == cache && found.offset == byte);
    ASSERT(found.slab->first + found.index * cache->cut().stride == object);
  }
  const PhysAddr slab = physical_of(world, object).aligned_down(kPageSize);
  unsigned in_objects = 0;
  for (unsigned byte = 0; byte < kPageSize; ++byte) {
    const AddressOwner found = owner_of(manager, slab + byte);
    ASSERT(found.use == FrameUse::slab);
    in_objects += found.index < found.slab->objects;
  }
  EXPECT_EQ(in_objects, cache->cut().objects * cache->cut().stride);
  EXPECT(manager.cache_free(*cache, object).ok());
  EXPECT(manager.heap().destroy(*cache).ok());
}

TEST(who, tells_a_large_object) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  auto* const object = static_cast<std::byte*>(manager.kmalloc().allocate(50'000).take());
  const AddressOwner found = owner_of(manager, physical_of(world, object + 49'999));
  EXPECT(found.use == FrameUse::large_object && found.offset == 49'999 && found.order == Order{4});
  EXPECT(manager.kfree(object).ok());
}

TEST(who, tells_every_byte_of_the_kernel_heap) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  std::byte* blocks[3] = {};
  for (auto& block : blocks) block = static_cast<std::byte*>(manager.heap_malloc(100).take());
  ASSERT(manager.heap_free(blocks[1]).ok());
  for (unsigned n = 0; n < 3; ++n)
    for (const std::size_t offset : {std::size_t{0}, std::size_t{57}, std::size_t{99}}) {
      const AddressOwner found = owner_of(manager, physical_of(world, blocks[n] + offset));
      ASSERT(found.use == FrameUse::heap_range && found.heap_block.has_value());
      EXPECT_EQ(found.heap_block->payload, reinterpret_cast<std::uint64_t>(blocks[n]));
      EXPECT(found.heap_block->kind == (n == 1 ? HeapKey::Kind::free : HeapKey::Kind::used));
      EXPECT(found.heap_block->bytes >= 100 && found.offset == offset);
    }
  // Behind a header that is none nothing is known; in front of it everything.
  std::uint64_t& header = reinterpret_cast<std::uint64_t*>(blocks[2])[-1];
  header ^= 1 << 20;
  EXPECT(!owner_of(manager, physical_of(world, blocks[2])).heap_block);
  EXPECT(owner_of(manager, physical_of(world, blocks[0])).heap_block);
  header ^= 1 << 20;
  EXPECT(manager.heap_free(blocks[0]).ok() && manager.heap_free(blocks[2]).ok());
}

TEST(who, believes_no_broken_record) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  void* const object = manager.kmalloc().allocate(64).take();
  const PhysAddr at = physical_of(world, object);
  Frame& frame = world->physical().frames()[frame_at(at)];
  const std::uint64_t owner = frame.owner.load();
  for (const std::uint64_t broken :
       {std::uint64_t{0}, owner + 1, ~std::uint64_t{0}, owner ^ std::uint64_t{1} << 40}) {
    frame.owner.store(broken);
    const AddressOwner found = owner_of(manager, at);
    EXPECT(found.use == FrameUse::unknown && found.slab == nullptr && found.cache != nullptr);
  }
  frame.owner.store(owner);
  auto* const slab = reinterpret_cast<Slab*>(owner);
  slab->number ^= 1;
  EXPECT(owner_of(manager, at).use == FrameUse::unknown);
  slab->number ^= 1;
  EXPECT(owner_of(manager, at).use == FrameUse::slab);
  EXPECT(manager.kfree(object).ok());
}

TEST(who, gives_a_lost_frame_to_no_neighbour) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const FrameNumber pair = world->physical().allocate(Order{1}).take();
  Frame& first = world->physical().frames()[pair];
  const auto sound = first.state_order.load();
  first.set(FrameState::allocated, Order{0});  // half as large as it is: the second frame is in no block
  EXPECT(owner_of(world->manager(), address_of(pair)).block == pair);
  const AddressOwner lost = owner_of(world->manager(), address_of(pair) + kPageSize);
  EXPECT(lost.use == FrameUse::unknown && lost.block == kNoFrame);
  first.state_order.store(sound);
  EXPECT(owner_of(world->manager(), address_of(pair) + kPageSize).block == pair);
  EXPECT(world->physical().release(pair, Order{1}).ok());
}

TEST(who, knows_what_is_written_down_of_an_object) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  KmemCache* const cache = manager.heap().create({.name = "who", .object_bytes = 200}).take();
  void* objects[2] = {cache->allocate().take(), cache->allocate().take()};
  auto* const large = static_cast<std::byte*>(manager.kmalloc().allocate(50'000).take());
  const AddressOwner kept = owner_of(manager, physical_of(world, objects[0]));
  EXPECT_EQ(kept.track != nullptr, config::debug_slab);
  EXPECT_EQ(owner_of(manager, physical_of(world, large)).track != nullptr, config::debug_slab);
  EXPECT(owner_of(manager, physical_of(world, kept.slab)).track == nullptr);  // a record has none
  EXPECT(manager.cache_free(*cache, objects[1]).ok());
  if constexpr (config::debug_slab) {
    const AddressOwner gone = owner_of(manager, physical_of(world, objects[1]));
    ASSERT(kept.track != nullptr && gone.track != nullptr && gone.track != kept.track);
    EXPECT(kept.track->requested == 200 && kept.track->allocated.site != 0 && kept.track->freed.site == 0);
    EXPECT(gone.track->requested == 200 && gone.track->freed.site != 0);
    const auto track = [&](void* object) { return owner_of(manager, physical_of(world, object)).track; };
    auto& written = *const_cast<ObjectTrack*>(kept.track);
    written.requested = 201;  // more than there is room for
    EXPECT(track(objects[0]) == nullptr);
    written.requested = 200;
    written.allocated.cpu = config::max_cpus;
    EXPECT(track(objects[0]) == nullptr);
    written.allocated.cpu = 0;
    EXPECT(track(objects[0]) == kept.track);
    const ObjectTrack* const trail = track(large + 49'999);
    ASSERT(trail != nullptr && trail->requested == 50'000);
    const_cast<ObjectTrack*>(trail)->allocated.site ^= 1;
    EXPECT(track(large) == nullptr);
    const_cast<ObjectTrack*>(trail)->allocated.site ^= 1;
    EXPECT(track(large) == trail);
  }
  EXPECT(manager.cache_free(*cache, objects[0]).ok() && manager.kfree(large).ok());
  EXPECT(manager.heap().destroy(*cache).ok());
}

TEST(who, survives_a_cache_whose_objects_have_no_size) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  KmemCache* const cache = manager.heap().create({.name = "who", .object_bytes = 200}).take();
  void* const object = cache->allocate().take();
  std::uint32_t& stride = const_cast<SlabCut&>(cache->cut()).stride;
  const std::uint32_t sound = std::exchange(stride, 0);
  const AddressOwner found = owner_of(manager, physical_of(world, object));
  EXPECT(found.use == FrameUse::unknown && found.cache == cache && found.slab == nullptr);
  stride = sound;
  EXPECT(manager.cache_free(*cache, object).ok());
  EXPECT(manager.heap().destroy(*cache).ok());
}

TEST(who, finds_no_record_in_a_free_frame) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  void* const object = manager.kmalloc().allocate(64).take();
  const PhysAddr at = physical_of(world, object);
  Frame& frame = world->physical().frames()[frame_at(at)];
  const std::uint64_t record = frame.owner.load();
  // One that still looks like a record, as in a frame that a slab was given back from.
  const FrameNumber other = world->physical().allocate(Order{0}).take();
  std::byte* const copy = world->physical().frames().open(other).bytes();
  std::memcpy(copy, reinterpret_cast<const void*>(record), sizeof(Slab));
  frame.owner.store(reinterpret_cast<std::uint64_t>(copy));
  EXPECT(owner_of(manager, at).use == FrameUse::slab);
  ASSERT(world->physical().release(other, Order{0}).ok());
  EXPECT(owner_of(manager, at).use == FrameUse::unknown);
  frame.owner.store(record);
  EXPECT(manager.kfree(object).ok());
}
