// Kalloc: the one door serves at any time, and finds the owner of whatever comes back.
// SPDX-License-Identifier: MIT
#include "mm/kalloc.hpp"

#include <cstring>

#include "mm/base/random.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 6144)};

// The early allocator over storage of the test's own, which stands for physical memory.
struct Early {
  static constexpr std::size_t kFrames = 64;

  std::span<std::byte> memory = unit::storage(kFrames * kPageSize);
  EarlyAllocator* allocator = nullptr;

  Early() {
    BootInfo* const info = unit::fresh<BootInfo>();
    if (info == nullptr || memory.empty()) return;
    info->memory[info->memory_ranges++] = {frames(0, kFrames), MemoryKind::available};
    allocator = unit::fresh<EarlyAllocator>(*info, PhysAddr{kFrames * kPageSize});
  }
  bool ok() const { return allocator != nullptr; }
};

std::uint64_t number(const void* object) { return reinterpret_cast<std::uint64_t>(object); }

}  // namespace

TEST(kalloc, serves_nobody_before_it_begins) {
  Kalloc door;
  EXPECT_EQ(door.allocate(64).error(), Error::no_memory);
  EXPECT_EQ(door.release(nullptr).error(), Error::ok);
}

TEST(kalloc, is_early_memory_before_there_is_a_heap) {
  const Early early;
  ASSERT(early.ok());
  Kalloc door;
  door.begin(*early.allocator, early.memory.data());
  // Small requests lie one behind the other, aligned, in the same frame.
  auto* const first = static_cast<std::byte*>(door.allocate(1).take());
  auto* const second = static_cast<std::byte*>(door.allocate(100).take());
  EXPECT_EQ(second - first, 16);
  EXPECT_EQ(early.allocator->allocated_frames(), 1u);
  std::memset(first, 1, 1);
  std::memset(second, 2, 100);
  // A page of its own, and where that is; the rest of the first frame is still of use.
  PhysAddr at{1};
  auto* const page = static_cast<std::byte*>(door.place(3000, at, Kalloc::Alignment::page).take());
  EXPECT_EQ(number(page) % kPageSize, 0u);
  EXPECT_EQ(early.memory.data() + at.value, page);
  auto* const third = static_cast<std::byte*>(door.allocate(8).take());
  EXPECT_EQ(third - second, 112);
  EXPECT_EQ(first[0], std::byte{1});
  EXPECT_EQ(second[99], std::byte{2});
  // What there is not is refused and takes nothing; nothing goes back.
  const std::size_t taken = early.allocator->allocated_frames();
  EXPECT_EQ(door.allocate(Early::kFrames * kPageSize).error(), Error::no_memory);
  EXPECT_EQ(door.place(Early::kFrames * kPageSize, at, Kalloc::Alignment::page).error(), Error::no_memory);
  EXPECT_EQ(at.value, static_cast<std::uint64_t>(page - early.memory.data()));
  EXPECT_EQ(door.allocate(Kalloc::kMaxBytes + 1).error(), Error::too_big);
  EXPECT_EQ(early.allocator->allocated_frames(), taken);
  EXPECT_EQ(door.release(page).error(), Error::wild_object);
}

TEST(kalloc, what_was_served_early_is_nobodys_later) {
  const Early early;
  World world({.memory = kMemory, .on_misuse = MisusePolicy::refuse});
  ASSERT(early.ok() && world.ok());
  Kalloc door;
  door.begin(*early.allocator, early.memory.data());
  void* const old = door.allocate(64).take();
  door.open(world->manager());
  EXPECT_EQ(door.release(old).error(), Error::wild_object);
  void* const fresh = door.allocate(64).take();
  EXPECT_EQ(world->manager().kmalloc().misuse_of(fresh), Error::ok);
  EXPECT_EQ(door.release(fresh).error(), Error::ok);
}

// Who serves a request follows from its size, and whoever it was takes it back.
TEST(kalloc, sizes_go_to_slabs_the_heap_or_frames) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  Kalloc door;
  door.open(manager);
  const auto goes_to_heap = [&](std::size_t bytes) {
    void* const object = door.allocate(bytes).take();
    std::memset(object, 0x3c, bytes);
    EXPECT_EQ(number(object) % 16, 0u);
    const bool in_heap = manager.in_kernel_heap(object);
    EXPECT_EQ(manager.kernel_heap().usable_bytes(object).ok(), in_heap);
    EXPECT_EQ(manager.kmalloc().usable_bytes(object).ok(), !in_heap);
    EXPECT_EQ(door.release(object).error(), Error::ok);
    return in_heap;
  };
  for (const std::size_t bytes : {16u, 100u, kMaxClassBytes, 14u * 1024, 16u * 1024, 60u * 1024, 1u << 20})
    EXPECT(!goes_to_heap(bytes));
  for (const std::size_t bytes : {kMaxClassBytes + 1, 9000u, 14u * 1024 - 1, 17u * 1024, 40'000u, 600'000u})
    EXPECT(goes_to_heap(bytes));
  EXPECT_EQ(manager.kernel_heap().levels().active_blocks, 0u);
  EXPECT(manager.valid());
}

TEST(kalloc, a_place_has_its_physical_address_and_its_page) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  const FrameTable& frames = manager.physical().frames();
  Kalloc door;
  door.open(manager);
  for (const std::size_t bytes : {1u, 100u, 4096u, 4097u, 5000u, 8192u, 8193u, 9000u, 50'000u, 65'536u}) {
    for (const auto alignment : {Kalloc::Alignment::natural, Kalloc::Alignment::page}) {
      PhysAddr at{1};
      auto* const object = static_cast<std::byte*>(door.place(bytes, at, alignment).take());
      if (alignment == Kalloc::Alignment::page) EXPECT_EQ(number(object) % kPageSize, 0u);
      EXPECT_EQ(frames.open(frame_at(at)).bytes() + at.value % kPageSize, object);
      std::memset(object, 1, bytes);
      EXPECT_EQ(door.release(object).error(), Error::ok);
    }
  }
  EXPECT(manager.valid());
}

// Every way through the door fails at every allocation below it, and nothing is lost.
TEST(kalloc, fails_cleanly_at_every_allocation) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  Kalloc door;
  door.open(manager);
  const auto settled = [&] {
    manager.heap().quiesce();
    manager.kernel_heap().shrink();
    manager.physical().quiesce();
    return manager.physical().levels().free;
  };
  const std::uint64_t before = settled();
  for (const std::size_t bytes : {40u, 9000u, 16'384u}) {
    for (std::uint64_t n = 1;; ++n) {
      ASSERT(n < 20);
      PhysAddr at{77};
      manager.fail_nth(n);
      const auto made = door.place(bytes, at, Kalloc::Alignment::page);
      manager.fail_nth(0);
      if (made.ok()) {
        EXPECT(n > 1);
        EXPECT_EQ(door.release(made.take()).error(), Error::ok);
        break;
      }
      EXPECT_EQ(made.error(), Error::no_memory);
      EXPECT_EQ(at.value, 77u);
      EXPECT(manager.valid());
      EXPECT_EQ(settled(), before);
    }
  }
  EXPECT_EQ(settled(), before);
}

TEST(kalloc, a_wrong_release_is_met_and_names_who_did_it) {
  World world({.memory = kMemory, .on_misuse = MisusePolicy::refuse});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  Kalloc door;
  door.open(manager);
  for (const std::size_t bytes : {64u, 9000u}) {
    auto* const object = static_cast<std::byte*>(door.allocate(bytes).take());
    const Error interior = door.release(object + 16, 0x1234).error();
    EXPECT(interior == Error::interior_object || interior == Error::interior_free);
    EXPECT_EQ(manager.last_misuse().caught.site, 0x1234u);
    EXPECT_EQ(door.release(object).error(), Error::ok);
    EXPECT_EQ(door.release(object).error(), Error::double_free);
    EXPECT(manager.last_misuse().caught.site != 0x1234u && manager.last_misuse().caught.site != 0);
  }
  // kmalloc's own door does not take the heap's blocks, and says whose they are.
  void* const block = door.allocate(9000).take();
  EXPECT_EQ(manager.kfree(block).error(), Error::wrong_cache);
  EXPECT_EQ(manager.last_misuse().keeper, Keeper::kernel_heap);
  EXPECT_EQ(door.release(block).error(), Error::ok);
  EXPECT(manager.valid());
}

// The frames of the heap's ranges are not to be released as frames.
TEST(kalloc, nobody_frees_a_frame_of_the_kernel_heap) {
  World world({.memory = kMemory, .on_misuse = MisusePolicy::refuse});
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  void* const block = manager.heap_malloc(100).take();
  const FrameNumber frame = manager.physical().frames().frame_behind(number(block));
  const FrameNumber head = manager.physical().frames().block_around(frame);
  const Order order = manager.physical().frames()[head].order();
  EXPECT(is_misuse(manager.free_pages(head, order).error()));
  EXPECT_EQ(manager.heap_free(block).error(), Error::ok);
  manager.kernel_heap().shrink();
  EXPECT_EQ(manager.kernel_heap().levels().total_bytes, 0u);
  EXPECT(manager.valid());
}

TEST(kalloc, random_sizes_keep_their_contents) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  Kalloc door;
  door.open(world->manager());
  struct Held {
    std::uint8_t* bytes;
    std::size_t size;
    std::uint8_t fill;
  };
  static Held held[64];
  for (Held& one : held) one = {};
  Random random(unit::seed());
  for (unsigned round = 0; round < 4000; ++round) {
    Held& one = held[random.below(64)];
    if (one.bytes != nullptr) {
      bool same = true;
      for (std::size_t n = 0; n < one.size; n += 1 + one.size / 64) same = same && one.bytes[n] == one.fill;
      ASSERT(same && one.bytes[one.size - 1] == one.fill);
      ASSERT(door.release(one.bytes).ok());
      one.bytes = nullptr;
      continue;
    }
    one.size = 1 + random.below(std::uint64_t{1} << (4 + random.below(13)));
    const auto made = door.allocate(one.size);
    if (!made.ok()) continue;
    one.bytes = static_cast<std::uint8_t*>(made.take());
    one.fill = static_cast<std::uint8_t>(random.next());
    std::memset(one.bytes, one.fill, one.size);
  }
  for (Held& one : held)
    if (one.bytes != nullptr) EXPECT(door.release(one.bytes).ok());
  EXPECT(world->manager().valid());
}
