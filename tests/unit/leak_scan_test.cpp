// What a scan for leaks reaches and what it reports, over machines whose roots the test names.
// SPDX-License-Identifier: MIT
#include "mm/heap/leak_scan.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 4096)};
constexpr MachineShape kShape{.memory = kMemory};

std::uint64_t number(const void* address) { return reinterpret_cast<std::uint64_t>(address); }

// A few words that hold what they hold, and nothing else does.
struct Words final : LeakRoots, LeakSink {
  void while_still(void (*body)(void*), void* context) override { body(context); }
  void show(RootVisitor& to) override { to.visit({VirtAddr{number(words)}, VirtAddr{number(words + 8)}}); }
  void found(const HeapObject& leak) override {
    last = leak.address;
    sum += leak.address;
    last_bytes = leak.bytes;
    last_name = leak.name;
    last_keeper = leak.keeper;
  }
  // How many leaks a scan finds.
  std::uint64_t scan(World& world) {
    last = sum = 0;
    count = world->manager().find_leaks(*this, *this);
    return count.leaks;
  }
  void hold(unsigned place, const void* what) { words[place] = number(what); }

  std::uint64_t words[8] = {};
  std::uint64_t last = 0;
  std::uint64_t sum = 0;
  std::uint64_t last_bytes = 0;
  std::string_view last_name;
  Keeper last_keeper = Keeper::nobody;
  LeakCount count;
};

std::uint64_t* words_of(Result<void*> object) { return static_cast<std::uint64_t*>(object.take()); }

}  // namespace

TEST(leak_scan, reports_just_what_no_root_leads_to) {
  World world(kShape);
  ASSERT(world.ok());
  Words roots;
  EXPECT_EQ(roots.scan(world), 0u);
  void* const held = world->manager().kmalloc().allocate(100).take();
  void* const lost = world->manager().kmalloc().allocate(200).take();
  roots.hold(3, held);
  EXPECT_EQ(roots.scan(world), 1u);
  EXPECT_EQ(roots.last, number(lost));
  EXPECT(roots.last_name == "kmalloc-224" && roots.last_keeper == Keeper::cache);
  EXPECT_EQ(roots.count.objects, 2u);
  EXPECT_EQ(roots.count.leaked_bytes, config::debug_slab ? 200u : 224u);
  EXPECT(world->manager().valid());
  roots.hold(4, lost);
  EXPECT_EQ(roots.scan(world), 0u);
  roots.hold(3, nullptr);
  EXPECT_EQ(roots.scan(world), 1u);
  EXPECT_EQ(roots.last, number(held));
  EXPECT(world->manager().valid());
}

TEST(leak_scan, a_pointer_to_any_byte_holds_an_object) {
  World world(kShape);
  ASSERT(world.ok());
  Words roots;
  // Behind its last byte lies one that is nobody's, not the next object.
  KmemCache* const cache = world->manager().heap().create({.name = "odd", .object_bytes = 100}).take();
  ASSERT(cache->cut().stride > 100);
  auto* const object = static_cast<std::byte*>(cache->allocate().take());
  for (unsigned byte = 0; byte < 100; ++byte) {
    roots.hold(0, object + byte);
    EXPECT_EQ(roots.scan(world), 0u);
  }
  roots.hold(0, object + 100);
  EXPECT_EQ(roots.scan(world), 1u);
  roots.hold(0, object - 1);
  EXPECT_EQ(roots.scan(world), 1u);
}

TEST(leak_scan, looks_through_what_it_reaches) {
  World world(kShape);
  ASSERT(world.ok());
  Kmalloc& kmalloc = world->manager().kmalloc();
  KmemCache* const cache = world->manager().heap().create({.name = "link", .object_bytes = 48}).take();
  Words roots;
  std::uint64_t* const first = words_of(kmalloc.allocate_zeroed(64));
  std::uint64_t* const second = words_of(cache->allocate());
  std::uint64_t* const third = words_of(kmalloc.allocate_zeroed(100'000));  // in frames of its own
  std::uint64_t* const last = words_of(kmalloc.allocate_zeroed(32));
  std::memset(second, 0, 48);
  roots.hold(7, first);
  first[7] = number(second + 2);
  second[5] = number(third + 7000);
  third[99'992 / 8] = number(last);
  EXPECT_EQ(roots.scan(world), 0u);
  third[99'992 / 8] = 0;
  EXPECT_EQ(roots.scan(world), 1u);
  EXPECT_EQ(roots.last, number(last));
  second[5] = 0;
  EXPECT_EQ(roots.scan(world), 2u);
  first[7] = 0;
  EXPECT_EQ(roots.scan(world), 3u);
  EXPECT_EQ(roots.sum, number(second) + number(third) + number(last));
  roots.hold(7, nullptr);
  EXPECT_EQ(roots.scan(world), 4u);
  EXPECT(world->manager().valid());
}

TEST(leak_scan, a_chain_of_any_length_and_a_ring_that_nobody_holds) {
  World world(kShape);
  ASSERT(world.ok());
  Kmalloc& kmalloc = world->manager().kmalloc();
  Words roots;
  constexpr unsigned kLong = 3000;
  std::uint64_t* before = nullptr;
  std::uint64_t* const tail = words_of(kmalloc.allocate_zeroed(40));
  for (unsigned n = 0; n < kLong; ++n) {
    std::uint64_t* const next = n == 0 ? tail : words_of(kmalloc.allocate_zeroed(40));
    next[2] = number(before);
    before = next;
  }
  roots.hold(0, before);
  EXPECT_EQ(roots.scan(world), 0u);
  tail[2] = number(before);  // a ring
  roots.hold(0, nullptr);
  EXPECT_EQ(roots.scan(world), kLong);
  EXPECT(world->manager().valid());
}

TEST(leak_scan, what_was_released_is_no_leak_and_leads_nowhere) {
  World world(kShape);
  ASSERT(world.ok());
  Kmalloc& kmalloc = world->manager().kmalloc();
  Words roots;
  std::uint64_t* const gone = words_of(kmalloc.allocate_zeroed(64));
  std::uint64_t* const lost = words_of(kmalloc.allocate_zeroed(64));
  void* const large = kmalloc.allocate(50'000).take();
  gone[3] = number(lost);
  roots.hold(0, gone);
  roots.hold(1, large);
  EXPECT_EQ(roots.scan(world), 0u);
  EXPECT(kmalloc.release(gone).ok() && kmalloc.release(large).ok());  // into a magazine, and to the frames
  EXPECT_EQ(roots.scan(world), 1u);
  EXPECT_EQ(roots.last, number(lost));
  world->manager().heap().quiesce();  // into its slab
  EXPECT_EQ(roots.scan(world), 1u);
  EXPECT(kmalloc.release(lost).ok());
  EXPECT_EQ(roots.scan(world), 0u);
  EXPECT_EQ(roots.count.objects, 0u);
}

TEST(leak_scan, frames_and_the_kernel_heap_lead_on) {
  World world(kShape);
  ASSERT(world.ok());
  MemoryManager& manager = world->manager();
  Words roots;
  const FrameNumber block = manager.alloc_pages(Order{2}).take();
  auto* const bytes = manager.physical().frames().open(block).bytes();
  std::memset(bytes, 0, bytes_in(Order{2}));
  std::uint64_t* const one = words_of(manager.heap_malloc(500));
  std::memset(one, 0, 500);
  void* const by_frames = manager.kmalloc().allocate(64).take();
  void* const by_heap = manager.kmalloc().allocate(64).take();
  EXPECT_EQ(roots.scan(world), 2u);
  reinterpret_cast<std::uint64_t*>(bytes)[2047] = number(by_frames);
  EXPECT_EQ(roots.scan(world), 2u);  // nobody holds the frames
  roots.hold(2, bytes + 5000);
  EXPECT_EQ(roots.scan(world), 1u);
  EXPECT_EQ(roots.last, number(by_heap));
  one[40] = number(by_heap);
  EXPECT_EQ(roots.scan(world), 0u);
  EXPECT(manager.heap_free(one).ok());
  EXPECT_EQ(roots.scan(world), 1u);
  EXPECT(manager.valid());
}

TEST(leak_scan, what_the_manager_has_for_itself_is_held) {
  World world(kShape);
  ASSERT(world.ok());
  Words roots;
  ASSERT(world->manager().directories().create().ok());
  EXPECT_EQ(roots.scan(world), 0u);
  EXPECT_EQ(roots.count.objects, 1u);
  // The report of a misuse speaks of an object, and does not hold it.
  auto* const object = static_cast<std::byte*>(world->manager().kmalloc().allocate(64).take());
  EXPECT(!world->manager().kfree(object + 8).ok());
  EXPECT_EQ(world->manager().last_misuse().object, number(object));
  EXPECT_EQ(roots.scan(world), 1u);
}
