// Memory in kernel addresses: what is mapped and how, what is not, and that everything comes back.
// SPDX-License-Identifier: MIT
#include "mm/virtual/vmalloc.hpp"

#include <algorithm>

#include "mm/base/random.hpp"
#include "mm/virtual/kernel_stack.hpp"
#include "mm/virtual/range_cache.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using stats::Counter;
using unit::frames;

namespace {

constexpr VirtAddr kStart{0xffff'c000'0000'0000};
constexpr PhysRange kMemory[] = {frames(0, 4096)};
constexpr PhysAddr kDevice{0xfee0'0000};

// A machine with kernel addresses of its own. Made in storage: too large for a stack.
struct Floor {
  explicit Floor(Machine& machine, std::uint64_t pages = 8192)
      : physical(machine.physical()),
        heap(machine.manager().heap()),
        tables(physical, PageTables::new_root(physical, PageLevel::gib_512).take(), PageLevel::two_mib),
        records(heap),
        ranges({kStart, kStart + pages * kPageSize}, records),
        vmalloc(tables, ranges),
        stacks(vmalloc) {}

  bool valid() const { return ranges.valid() && tables.valid() && physical.valid() && heap.valid(); }
  // Frames that nobody has, magazines and empty slabs given up.
  std::uint64_t free() {
    heap.quiesce();
    physical.quiesce();
    return physical.levels().free;
  }
  bool mapped(VirtAddr at) const { return tables.query(at).ok(); }
  // Whether it lies in a block that is handed out.
  bool allocated(FrameNumber number) const {
    for (unsigned order = 0; order <= config::max_order; ++order) {
      const auto head = FrameNumber{raw(number) >> order << order};
      const Frame& frame = physical.frames()[head];
      if (frame.state() == FrameState::allocated && raw(frame.order()) >= order) return true;
    }
    return false;
  }
  void mark(VirtAddr at, std::uint64_t word) {
    *reinterpret_cast<std::uint64_t*>(vmalloc.open(at).take()) = word;
  }
  std::uint64_t marked(VirtAddr at) const {
    return *reinterpret_cast<std::uint64_t*>(vmalloc.open(at).take());
  }

  Physical& physical;
  Heap& heap;
  PageTables tables;
  RangeCache records;
  KernelRanges ranges;
  Vmalloc vmalloc;
  KernelStacks stacks;
};

struct Place {
  explicit Place(std::uint64_t pages = 8192) : world({.memory = kMemory}) {
    if (world.ok()) floor = unit::fresh<Floor>(*world, pages);
    if (ok())
      EXPECT(floor->vmalloc.release(floor->vmalloc.allocate(1, {"first"}).take())
                 .ok());  // makes a table that stays
  }
  bool ok() const { return floor != nullptr; }
  Floor* operator->() { return floor; }
  unit::World world;
  Floor* floor = nullptr;
};

constexpr Origin kOrigin{"test", 0x1234, 0};

}  // namespace

TEST(vmalloc, maps_each_page_to_write_and_never_to_execute) {
  Place place;
  ASSERT(place.ok());
  const VirtAddr at = place->vmalloc.allocate(5 * kPageSize - 100, kOrigin).take();
  for (unsigned n = 0; n < 5; ++n) {
    const auto found = place->tables.query(at + n * kPageSize);
    ASSERT(found.ok());
    EXPECT(found.take().how == Protection{.access = Access::read_write});
    EXPECT_EQ(found.take().how.user, User::no);
    EXPECT(place->allocated(frame_at(found.take().physical)));
    place->mark(at + n * kPageSize, n + 7);
  }
  for (unsigned n = 0; n < 5; ++n) EXPECT_EQ(place->marked(at + n * kPageSize), n + 7u);
  EXPECT(!place->mapped(at + 5 * kPageSize));  // the guard
  EXPECT(place->valid());
  EXPECT(place->vmalloc.release(at).ok());
  EXPECT(!place->mapped(at));
  EXPECT(place->valid());
}

TEST(vmalloc, no_two_ranges_are_neighbours_without_a_guard) {
  Place place;
  ASSERT(place.ok());
  VirtAddr last{};
  for (unsigned n = 1; n <= 20; ++n) {
    const VirtAddr at = place->vmalloc.allocate(n % 3 * kPageSize + 1, kOrigin).take();
    EXPECT(!place->mapped(at + (n % 3 + 1) * kPageSize));
    if (n > 1) EXPECT(!place->mapped(at - kPageSize));
    EXPECT(at > last);
    last = at;
    const auto found = place->ranges.find(at + (n % 3 + 1) * kPageSize);
    ASSERT(found.ok());
    const FoundRange range = found.take();
    EXPECT(range.guards(at + (n % 3 + 1) * kPageSize) && range.caller == 0x1234);
    EXPECT_EQ(range.owner.view(), std::string_view("test"));
  }
}

TEST(vmalloc, gives_every_frame_and_address_back) {
  Place place;
  ASSERT(place.ok());
  const std::uint64_t free = place->free();
  const std::int64_t held = place.world->counter(Counter::vmalloc_frames);
  static std::array<VirtAddr, 40> at;
  for (unsigned n = 0; n < at.size(); ++n)
    at[n] = place->vmalloc.allocate((n + 1) * kPageSize, kOrigin).take();
  EXPECT_EQ(place.world->counter(Counter::vmalloc_frames) - held, 40 * 41 / 2);
  EXPECT(free - place->free() >= 40 * 41 / 2);
  for (unsigned n = 0; n < at.size(); n += 2) EXPECT(place->vmalloc.release(at[n]).ok());
  for (unsigned n = 1; n < at.size(); n += 2) EXPECT(place->vmalloc.release(at[n]).ok());
  EXPECT_EQ(place->free(), free);
  EXPECT_EQ(place.world->counter(Counter::vmalloc_frames), held);
  EXPECT_EQ(place->ranges.largest_free(), place->ranges.window().bytes());
  EXPECT(place->valid());
}

TEST(vmalloc, clears_what_is_asked_to_be_clear) {
  Place place;
  ASSERT(place.ok());
  for (const std::uint64_t bytes : {std::uint64_t{3 * kPageSize}, 2_MiB + kPageSize}) {
    const VirtAddr dirty = place->vmalloc.allocate(bytes, kOrigin).take();
    for (std::uint64_t n = 0; n < bytes; n += kPageSize) place->mark(dirty + n + 8, ~std::uint64_t{0});
    ASSERT(place->vmalloc.release(dirty).ok());
    const VirtAddr clear = place->vmalloc.allocate(bytes, kOrigin, Vmalloc::Contents::zeroed).take();
    for (std::uint64_t n = 0; n < bytes; n += kPageSize) ASSERT(place->marked(clear + n + 8) == 0);
    ASSERT(place->vmalloc.release(clear).ok());
  }
}

TEST(vmalloc, uses_large_pages_where_whole_ones_fit) {
  Place place;
  ASSERT(place.ok());
  const VirtAddr small = place->vmalloc.allocate(1, kOrigin).take();
  const VirtAddr at = place->vmalloc.allocate(4_MiB + 3 * kPageSize, kOrigin).take();
  EXPECT(at.aligned_to(2_MiB));
  EXPECT_EQ(place->tables.query(at).take().level, PageLevel::two_mib);
  EXPECT_EQ(place->tables.query(at + 2_MiB).take().level, PageLevel::two_mib);
  EXPECT_EQ(place->tables.query(at + 4_MiB).take().level, PageLevel::page);
  EXPECT(!place->mapped(at + 4_MiB + 3 * kPageSize));
  place->mark(at + 3_MiB, 5);
  EXPECT_EQ(place->marked(at + 3_MiB), 5u);
  EXPECT(place->vmalloc.release(at).ok() && place->vmalloc.release(small).ok());
  EXPECT(place->valid());
}

TEST(vmalloc, does_without_large_pages_when_none_is_whole) {
  static std::array<FrameNumber, 4096> all;
  Place place;
  ASSERT(place.ok());
  std::size_t count = 0;
  for (auto got = place->physical.allocate(Order{0}); got.ok(); got = place->physical.allocate(Order{0}))
    all[count++] = got.take();
  for (std::size_t n = 0; n < count; ++n)  // one of 512 stays
    if (raw(all[n]) % 512 != 5) ASSERT(place->physical.release(all[n], Order{0}).ok());
  const VirtAddr at = place->vmalloc.allocate(2_MiB, kOrigin).take();
  EXPECT_EQ(place->tables.query(at).take().level, PageLevel::page);
  EXPECT(place->mapped(at + 2_MiB - 1) && !place->mapped(at + 2_MiB));
  EXPECT(place->vmalloc.release(at).ok());
  EXPECT(place->valid());
}

TEST(vmalloc, refuses_nonsense_and_every_misuse) {
  Place place(64);
  ASSERT(place.ok());
  EXPECT_EQ(place->vmalloc.allocate(0, kOrigin).error(), Error::invalid);
  EXPECT_EQ(place->vmalloc.allocate(64 * kPageSize, kOrigin).error(), Error::no_memory);  // and its guard
  EXPECT_EQ(place->vmalloc.allocate(~std::uint64_t{0}, kOrigin).error(), Error::no_memory);
  const VirtAddr at = place->vmalloc.allocate(4 * kPageSize, kOrigin).take();
  const VirtAddr device = place->vmalloc.map_device(kDevice, 16, CacheType::uncached, kOrigin).take();
  const std::int64_t misuses = place.world->counter(Counter::range_misuses);
  EXPECT_EQ(place->vmalloc.release(at + kPageSize).error(), Error::interior_free);
  EXPECT_EQ(place->vmalloc.release(at + 1).error(), Error::interior_free);
  EXPECT_EQ(place->vmalloc.release(device).error(), Error::wrong_range);
  EXPECT_EQ(place->vmalloc.unmap_device(at).error(), Error::wrong_range);
  EXPECT_EQ(place->vmalloc.release(kStart + 40 * kPageSize).error(), Error::wild_range);
  EXPECT_EQ(place->vmalloc.release(VirtAddr{0x1000}).error(), Error::wild_range);
  EXPECT(place->mapped(at) && place->mapped(device));
  EXPECT(place->vmalloc.release(at).ok());
  EXPECT_EQ(place->vmalloc.release(at).error(), Error::double_free);
  EXPECT_EQ(place.world->counter(Counter::range_misuses) - misuses, 7);
  EXPECT(place->valid());
}

// Whatever fails, and wherever: nothing has changed.
TEST(vmalloc, every_failure_leaves_all_as_it_was) {
  Place place;
  ASSERT(place.ok());
  const auto calls = {
      +[](Floor& floor) -> Error {
        const auto got = floor.vmalloc.allocate(70 * kPageSize, kOrigin);
        return got.ok() ? floor.vmalloc.release(got.take()).ok() ? Error::ok : Error::busy : got.error();
      },
      +[](Floor& floor) -> Error {
        const auto got = floor.vmalloc.allocate(2_MiB + 2 * kPageSize, kOrigin);
        return got.ok() ? floor.vmalloc.release(got.take()).ok() ? Error::ok : Error::busy : got.error();
      },
      +[](Floor& floor) -> Error {
        const auto got = floor.vmalloc.map_device(kDevice, 5 * kPageSize, CacheType::uncached, kOrigin);
        return got.ok() ? floor.vmalloc.unmap_device(got.take()).ok() ? Error::ok : Error::busy : got.error();
      },
      +[](Floor& floor) -> Error {
        const auto got = floor.vmalloc.allocate_per_cpu(2 * kPageSize, 3, kOrigin);
        return got.ok() ? floor.vmalloc.release_per_cpu(got.take()).ok() ? Error::ok : Error::busy
                        : got.error();
      },
      +[](Floor& floor) -> Error {
        const auto got = floor.stacks.allocate(kOrigin);
        if (!got.ok()) return got.error();
        const bool back = floor.stacks.release(got.take()).ok();
        floor.stacks.shrink();
        return back ? Error::ok : Error::busy;
      }};
  for (const auto call : calls) {
    const std::uint64_t free = place->free();
    bool struck = true;
    unsigned nth = 0, refused = 0;
    while (struck && nth < 600) {  // past failures that cost large blocks only
      place.world->manager().fail_nth(++nth);
      const Error outcome = call(*place.floor);
      struck = place->physical.fail_plan().struck();
      place.world->manager().fail_nth(0);
      EXPECT(outcome == Error::ok || (struck && outcome == Error::no_memory));
      refused += outcome == Error::no_memory ? 1 : 0;
      ASSERT(place->ranges.allocated() == 0 && place->free() == free);
      if (nth % 8 == 0) ASSERT(place->valid());
    }
    EXPECT(!struck && nth > 2 && refused > 0);
    EXPECT(place->valid());
  }
}

// However many frames are left: all of it or nothing, by large blocks, by small ones or one by one.
TEST(vmalloc, takes_what_is_there_or_leaves_it) {
  constexpr std::size_t kPages = 70;
  static std::array<FrameNumber, 4096> held;
  Place place;
  ASSERT(place.ok());
  std::size_t count = 0;
  for (auto frame = place->physical.allocate(Order{0}); frame.ok();
       frame = place->physical.allocate(Order{0}))
    held[count++] = frame.take();
  unsigned refused = 0, served = 0;
  Random random{unit::seed()};
  while (count > 0 && served < 3) {
    const std::uint64_t free = place->free();
    const auto got = place->vmalloc.allocate(kPages * kPageSize, kOrigin);
    if (got.ok()) {
      ++served;
      EXPECT(place->free() <= free - kPages);
      ASSERT(place->vmalloc.release(got.take()).ok());
    } else {
      ++refused;
      EXPECT_EQ(got.error(), Error::no_memory);
    }
    ASSERT(place->free() == free && place->ranges.allocated() == 0);
    EXPECT(place->valid());
    for (unsigned n = 0; n < 11 && count > 0; ++n) {
      std::swap(held[random.below(count)], held[count - 1]);
      EXPECT(place->physical.release(held[--count], Order{0}).ok());
    }
  }
  EXPECT(refused >= 6 && served == 3);
  while (count > 0) EXPECT(place->physical.release(held[--count], Order{0}).ok());
}

TEST(vmalloc, devices_are_shown_as_asked_and_ram_never) {
  Place place;
  ASSERT(place.ok());
  EXPECT_EQ(place->vmalloc.map_device(PhysAddr{100 * kPageSize}, 8, CacheType::uncached, kOrigin).error(),
            Error::no_access);
  EXPECT_EQ(place->vmalloc.map_device(PhysAddr{4095 * kPageSize}, 2 * kPageSize, CacheType::uncached, kOrigin)
                .error(),
            Error::no_access);
  EXPECT_EQ(place->vmalloc.map_device(kDevice, 0, CacheType::uncached, kOrigin).error(), Error::invalid);
  EXPECT_EQ(
      place->vmalloc.map_device(PhysAddr{~std::uint64_t{0} - 10}, 100, CacheType::uncached, kOrigin).error(),
      Error::invalid);
  EXPECT_EQ(place->vmalloc.map_device(kDevice, ~std::uint64_t{0}, CacheType::uncached, kOrigin).error(),
            Error::invalid);
  const std::uint64_t free = place->free();
  const VirtAddr at =
      place->vmalloc.map_device(kDevice + 0x20, kPageSize, CacheType::uncached, kOrigin).take();
  EXPECT_EQ(at.value % kPageSize, 0x20u);
  const auto first = place->tables.query(at), second = place->tables.query(at + kPageSize);
  ASSERT(first.ok() && second.ok());  // the range straddles two pages
  EXPECT_EQ(first.take().physical, kDevice + 0x20);
  EXPECT(first.take().how == (Protection{.access = Access::read_write, .cache = CacheType::uncached}));
  EXPECT(!place->mapped(at + 2 * kPageSize));
  const VirtAddr combined =
      place->vmalloc.map_device(PhysAddr{0xd000'0000}, 2_MiB, CacheType::write_combining, kOrigin).take();
  EXPECT(place->tables.query(combined).take().how.cache == CacheType::write_combining);
  EXPECT_EQ(place->tables.query(combined).take().level, PageLevel::two_mib);
  EXPECT_EQ(place->vmalloc.open(combined).error(), Error::no_access);
  EXPECT(place->vmalloc.unmap_device(at).ok() && place->vmalloc.unmap_device(combined).ok());
  EXPECT_EQ(place->free(), free);
  EXPECT(place->valid());
}

TEST(vmalloc, each_cpu_has_an_area_behind_a_guard) {
  Place place;
  ASSERT(place.ok());
  const std::uint64_t free = place->free();
  const auto areas = place->vmalloc.allocate_per_cpu(kPageSize + 1, 4, kOrigin).take();
  for (unsigned cpu = 0; cpu < 4; ++cpu) {
    EXPECT_EQ(place->marked(areas.of(cpu)), 0u);
    EXPECT(place->mapped(areas.of(cpu) + kPageSize) && !place->mapped(areas.of(cpu) + 2 * kPageSize));
    const FoundRange found = place->ranges.find(areas.of(cpu)).take();
    EXPECT(!found.guards(areas.of(cpu) + kPageSize) && found.guards(areas.of(cpu) + 2 * kPageSize));
    EXPECT_EQ(found.mapped_pages(), 8u + 3 - 3);
  }
  EXPECT_EQ(place->vmalloc.allocate_per_cpu(8, 0, kOrigin).error(), Error::invalid);
  EXPECT_EQ(place->vmalloc.allocate_per_cpu(8, config::max_cpus + 1, kOrigin).error(), Error::invalid);
  EXPECT(place->vmalloc.release_per_cpu(areas).ok());
  EXPECT_EQ(place->vmalloc.release_per_cpu(areas).error(), Error::double_free);
  EXPECT_EQ(place->free(), free);
  EXPECT(place->valid());
}

TEST(kernel_stack, has_guards_a_canary_and_a_high_water_mark) {
  Place place;
  ASSERT(place.ok());
  const KernelStack stack = place->stacks.allocate({"thread", 1, 42}).take();
  EXPECT_EQ(stack.top - stack.bottom, KernelStacks::kBytes);
  EXPECT(place->mapped(stack.bottom) && place->mapped(stack.top - 1));
  EXPECT(!place->mapped(stack.bottom - 1) && !place->mapped(stack.top));
  const FoundRange found = place->ranges.find(stack.bottom - 1).take();
  EXPECT(found.guards(stack.bottom - 1) && found.kind == RangeKind::stack && found.number == 42);
  EXPECT_EQ(place->stacks.high_water_bytes(stack), 0u);
  place->mark(stack.top - 8, 1);
  EXPECT_EQ(place->stacks.high_water_bytes(stack), 8u);
  place->mark(stack.bottom + kPageSize + 16, 1);
  EXPECT_EQ(place->stacks.high_water_bytes(stack), KernelStacks::kBytes - kPageSize - 16);
  EXPECT(place->stacks.canary_intact(stack));
  EXPECT(place->stacks.release(stack).ok());
  EXPECT(place->valid());
}

TEST(kernel_stack, is_reused_clean_and_by_its_new_name) {
  Place place;
  ASSERT(place.ok());
  const KernelStack first = place->stacks.allocate({"thread", 1, 1}).take();
  place->mark(first.top - 64, 99);
  EXPECT(place->stacks.release(first).ok());
  EXPECT_EQ(place->stacks.release(first).error(), Error::double_free);
  EXPECT_EQ(place->stacks.kept(), 1u);
  const KernelStack again = place->stacks.allocate({"CPU", 2, 3}).take();
  EXPECT(again == first);
  EXPECT_EQ(place->stacks.high_water_bytes(again), 0u);
  const FoundRange found = place->ranges.find(again.bottom).take();
  EXPECT(found.owner.view() == std::string_view("CPU") && found.number == 3 && found.caller == 2);
  EXPECT(place->stacks.release(again).ok());
}

TEST(kernel_stack, keeps_a_few_and_gives_the_rest_back) {
  Place place;
  ASSERT(place.ok());
  const std::uint64_t free = place->free();
  static std::array<KernelStack, KernelStacks::kKept + 3> stacks;
  for (KernelStack& stack : stacks) stack = place->stacks.allocate({"thread", 0, 0}).take();
  for (const KernelStack& stack : stacks) EXPECT(place->stacks.release(stack).ok());
  EXPECT_EQ(place->stacks.kept(), KernelStacks::kKept);
  EXPECT_EQ(place->ranges.allocated(), KernelStacks::kKept);
  EXPECT_EQ(place->stacks.shrink(), KernelStacks::kKept);
  EXPECT_EQ(place->stacks.shrink(), 0u);
  EXPECT_EQ(place->free(), free);
  EXPECT(place->valid());
}

TEST(kernel_stack, says_whose_canary_was_overwritten) {
  Place place;
  ASSERT(place.ok());
  const KernelStack stack = place->stacks.allocate({"thread", 0, 17}).take();
  place->mark(stack.bottom, 0);
  EXPECT_PANIC(static_cast<void>(place->stacks.release(stack)), "stack of thread 17: its canary");
}

// Contents by a model: each range is filled with its own number, and nobody else's write shows in it.
TEST(vmalloc, keeps_contents_whatever_comes_and_goes) {
  struct Held {
    VirtAddr at;
    std::uint64_t pages;
    std::uint64_t word;
  };
  static std::array<Held, 24> held;
  held = {};
  Place place(300);
  ASSERT(place.ok());
  Random random{unit::seed()};
  const std::uint64_t free = place->free();
  unsigned refused = 0;
  for (unsigned step = 0; step < 1500; ++step) {
    Held& one = held[random.below(held.size())];
    if (one.pages == 0) {
      const std::uint64_t pages = 1 + random.below(random.below(6) == 0 ? 200 : 12);
      const auto got = place->vmalloc.allocate(pages * kPageSize, kOrigin);
      if (!got.ok()) {
        ++refused;
        continue;
      }
      one = {got.take(), pages, random.next()};
      for (std::uint64_t n = 0; n < pages; ++n) place->mark(one.at + n * kPageSize, one.word + n);
    } else {
      for (std::uint64_t n = 0; n < one.pages; ++n)
        ASSERT(place->marked(one.at + n * kPageSize) == one.word + n);
      ASSERT(!place->mapped(one.at + one.pages * kPageSize));
      ASSERT(place->vmalloc.release(one.at).ok());
      one = {};
    }
    if (step % 128 == 0) ASSERT(place->valid());
  }
  EXPECT(refused > 0);
  for (const Held& one : held)
    if (one.pages != 0) ASSERT(place->vmalloc.release(one.at).ok());
  EXPECT_EQ(place->free(), free);
  EXPECT(place->valid());
}
