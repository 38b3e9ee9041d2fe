// The node: which zone serves whom, what is kept for those who have no other, and memory that comes later.
// SPDX-License-Identifier: MIT
#include "mm/physical/node.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr Order kSingle{0};
// A little of each zone; the RAM between is not there.
constexpr PhysRange kFour[] = {frames(2000, 2600), frames(4096, 4700)};

ZoneKind kind_of(World& world, FrameNumber number) { return world->physical().node().kind_of(number); }

unsigned take_all(World& world, Gfp flags, ZoneKind kind) {
  unsigned count = 0;
  for (;;) {
    const auto frame = world->physical().allocate(kSingle, flags);
    if (!frame.ok()) return count;
    count += kind_of(world, frame.take()) == kind;
  }
}

}  // namespace

TEST(node, flags_must_make_sense) {
  for (const Gfp good : {Gfp::kernel, Gfp::atomic, Gfp::user, Gfp::highmem, Gfp::dma,
                         Gfp::user | Gfp::highmem, Gfp::atomic | Gfp::dma})
    EXPECT(valid(good));
  for (const Gfp bad : {Gfp{}, Gfp{32}, Gfp{128}, Gfp::dma | Gfp::highmem}) EXPECT(!valid(bad));
  World world({.memory = kFour});
  ASSERT(world.ok());
  EXPECT_EQ(world->manager().alloc_pages(kSingle, Gfp{}).error(), Error::invalid);
  EXPECT_EQ(world->manager().alloc_pages(kSingle, Gfp::dma | Gfp::highmem).error(), Error::invalid);
  EXPECT_EQ(world->manager().alloc_pages(kSingle, Gfp{0xff}).error(), Error::invalid);
}

TEST(node, edges_are_where_devices_and_the_direct_map_end) {
  static constexpr PhysRange kLittle[] = {frames(1000, 1100)};
  World world({.memory = kLittle});
  ASSERT(world.ok());
  EXPECT_EQ(kind_of(world, FrameNumber{4095}), ZoneKind::dma);
  EXPECT_EQ(kind_of(world, FrameNumber{4096}), ZoneKind::dma32);
  EXPECT_EQ(kind_of(world, FrameNumber{(1u << 20) - 1}), ZoneKind::dma32);
  EXPECT_EQ(kind_of(world, FrameNumber{1u << 20}), ZoneKind::normal);
  World shrunk({.memory = kLittle, .direct_end = PhysAddr{19_MiB}});
  ASSERT(shrunk.ok());
  EXPECT_EQ(kind_of(shrunk, FrameNumber{4095}), ZoneKind::dma);
  EXPECT_EQ(kind_of(shrunk, FrameNumber{4096}), ZoneKind::highmem);  // rounded down to 8 MiB
  World least({.memory = kLittle, .direct_end = PhysAddr{1_MiB}});
  ASSERT(least.ok());
  EXPECT_EQ(kind_of(least, FrameNumber{4095}), ZoneKind::dma);  // never less than 16 MiB
}

TEST(node, a_request_starts_at_the_highest_zone_and_falls_back) {
  World world({.memory = kFour, .caching = FrameCaches::Service::off});
  ASSERT(world.ok());
  EXPECT_EQ(kind_of(world, world->physical().allocate(kSingle).take()), ZoneKind::dma32);
  EXPECT_EQ(kind_of(world, world->physical().allocate(kSingle, Gfp::dma).take()), ZoneKind::dma);
  EXPECT_EQ(kind_of(world, world->physical().allocate(kSingle, Gfp::highmem).take()), ZoneKind::dma32);
  const unsigned high = take_all(world, Gfp::kernel, ZoneKind::dma32);
  EXPECT_EQ(high, 604u - 2 - 604 / 256);
  // It has taken of DMA, too, but for its minimum and a 256th of what lies above.
  EXPECT_EQ(world->physical().zone(ZoneKind::dma).levels().free_frames, 600u / 256 + 604 / 256);
  EXPECT_EQ(take_all(world, Gfp::dma, ZoneKind::dma), 604u / 256);
  EXPECT_EQ(take_all(world, Gfp::atomic, ZoneKind::dma32), 604u / 256);
  EXPECT_EQ(take_all(world, Gfp::atomic | Gfp::dma, ZoneKind::dma), 600u / 256);
  EXPECT_EQ(world->physical().levels().free, 0u);
  EXPECT(world->manager().valid());
}

TEST(node, a_device_request_never_leaves_its_zone) {
  static constexpr PhysRange kHigh[] = {frames(4096, 5000)};
  World world({.memory = kHigh});
  ASSERT(world.ok());
  EXPECT_EQ(world->physical().allocate(kSingle, Gfp::dma).error(), Error::no_memory);
  EXPECT_EQ(world->physical().allocate(Order{5}, Gfp::dma).error(), Error::no_memory);
  EXPECT(world->physical().allocate(kSingle).ok());
}

TEST(node, high_memory_is_counted_handed_out_and_taken_back) {
  World world({.memory = kFour, .direct_end = PhysAddr{16_MiB}});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  EXPECT_EQ(physical.zone(ZoneKind::highmem).levels().free_frames, 604u);
  const FrameNumber high = physical.allocate(Order{4}, Gfp::user | Gfp::highmem).take();
  EXPECT_EQ(kind_of(world, high), ZoneKind::highmem);
  EXPECT(!world->frames().in_direct_map(high));
  EXPECT_EQ(kind_of(world, physical.allocate(kSingle).take()), ZoneKind::dma);  // others cannot use it
  EXPECT(physical.release(high, Order{4}).ok());
  EXPECT_EQ(physical.zone(ZoneKind::highmem).levels().free_frames, 604u);
  EXPECT(world->manager().valid());
}

TEST(node, watermarks_follow_the_memory) {
  World world({.memory = kFour, .room_end = PhysAddr{24_MiB}});
  ASSERT(world.ok());
  const Zone& zone = world->physical().zone(ZoneKind::dma32);
  EXPECT_EQ(zone.watermarks().minimum, 604u / 256);
  ASSERT(world->add_memory(frames(4700, 6144)).ok());
  EXPECT_EQ(zone.watermarks().minimum, 2048u / 256);
  EXPECT_EQ(zone.watermarks().low, 10u);
  EXPECT_EQ(zone.watermarks().high, 12u);
}

// ---- memory that comes later --------------------------------------------------------------------------------------

TEST(node, added_memory_serves_even_when_nothing_else_is_free) {
  World world({.memory = kFour, .room_end = PhysAddr{24_MiB}});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  for (const Gfp flags : {Gfp::atomic, Gfp::atomic | Gfp::dma})  // the last frames of DMA are for devices
    while (physical.allocate(kSingle, flags).ok()) continue;
  EXPECT_EQ(physical.levels().free, 0u);
  ASSERT(world->add_memory(frames(5000, 6100)).ok());
  EXPECT_EQ(physical.levels().free, 1100u);
  EXPECT_EQ(physical.levels().present, 1204u + 1100u);
  const auto block = physical.allocate(Order{9});
  ASSERT(block.ok());
  EXPECT(raw(block.take()) >= 5120);
  EXPECT(physical.release(block.take(), Order{9}).ok());
  EXPECT_EQ(world->counter(stats::Counter::frames_present), 2304);
  EXPECT(world->manager().valid());
}

TEST(node, added_ranges_join_their_neighbours) {
  static constexpr PhysRange kMemory[] = {frames(1000, 1100), frames(1200, 1300)};
  World world({.memory = kMemory, .room_end = PhysAddr{8_MiB}});
  ASSERT(world.ok());
  const FrameMap& map = world->frames().map();
  EXPECT_EQ(map.ranges, 2u);
  ASSERT(world->add_memory(frames(1100, 1200)).ok());  // joins both
  EXPECT(map.ranges == 1 && map.range[0].first == 1000 && map.range[0].end == 1300);
  ASSERT(world->add_memory(frames(500, 600)).ok());  // before all
  EXPECT(map.ranges == 2 && map.range[0].first == 500 && map.range[1].first == 1000);
  ASSERT(world->add_memory(frames(600, 601)).ok());   // behind one
  ASSERT(world->add_memory(frames(999, 1000)).ok());  // before one
  EXPECT(map.ranges == 2 && map.range[0].end == 601 && map.range[1].first == 999);
  ASSERT(world->add_memory(frames(0, 1)).ok());
  ASSERT(world->add_memory(frames(1400, 2048)).ok());
  EXPECT(map.ranges == 4 && map.range[3].end == 2048);
  EXPECT_EQ(world->physical().levels().free, 300u + 101 + 1 + 1 + 648);
  EXPECT(world->manager().valid());
}

TEST(node, refuses_to_add_what_is_wrong_and_changes_nothing) {
  World world({.memory = kFour, .room_end = PhysAddr{20_MiB}});
  ASSERT(world.ok());
  const std::uint64_t before = unit::fingerprint(*world);
  const PhysicalLevels levels = world->physical().levels();
  const struct {
    PhysRange range;
    Error error;
  } cases[] = {
      {frames(3000, 3000), Error::invalid},
      {{PhysAddr{0x1000'0001}, PhysAddr{0x1000'2000}}, Error::invalid},
      {{PhysAddr{0x1000'0000}, PhysAddr{0x1000'2fff}}, Error::invalid},
      {frames(3001, 3000), Error::invalid},
      {frames(2000, 2600), Error::exists},
      {frames(1999, 2001), Error::exists},
      {frames(2599, 2600), Error::exists},
      {frames(2300, 2301), Error::exists},
      {frames(0, 5000), Error::exists},
      {frames(2600, 4097), Error::exists},
      {frames(5000, 9000), Error::too_big},  // beyond the room
      {{PhysAddr{0}, PhysAddr{~std::uint64_t{0xfff}}}, Error::too_big},
  };
  for (const auto& wrong : cases) EXPECT_EQ(world->add_memory(wrong.range).error(), wrong.error);
  EXPECT_EQ(unit::fingerprint(*world), before);
  EXPECT_EQ(world->physical().levels().present, levels.present);
}

// ---- the n-th failure ---------------------------------------------------------------------------------------------

TEST(node, the_nth_allocation_fails_and_nothing_else_does) {
  World world({.memory = kFour});
  ASSERT(world.ok());
  Physical& physical = world->physical();
  for (unsigned n = 1; n <= 6; ++n) {
    physical.fail_nth(n);
    FrameNumber got[5];
    unsigned count = 0;
    bool failed = false;
    for (const unsigned order : {0u, 3u, 4u, 0u, 9u}) {
      const auto block = physical.allocate(Order{static_cast<std::uint8_t>(order)});
      if (block.ok()) {
        EXPECT(physical.release(block.take(), Order{static_cast<std::uint8_t>(order)}).ok());
        got[count++] = block.take();
      } else {
        EXPECT_EQ(block.error(), Error::no_memory);
        EXPECT_EQ(count, n - 1);
        failed = true;
        break;
      }
    }
    (void)got;
    EXPECT_EQ(failed, n <= 5);
    EXPECT_EQ(physical.fail_plan().pending(), n > 5);
    EXPECT_EQ(physical.levels().free, physical.levels().managed);
    EXPECT_EQ(physical.levels().cached, 0u);
    EXPECT(world->manager().valid());
    physical.fail_nth(0);
  }
  const FrameNumber frame = physical.allocate(kSingle).take();
  EXPECT(physical.release(frame, kSingle).ok());
  EXPECT(physical.levels().cached > 0);  // in service again
}

TEST(node, adding_memory_fails_at_its_site_and_changes_nothing) {
  World world({.memory = kFour, .room_end = PhysAddr{24_MiB}});
  ASSERT(world.ok());
  const std::uint64_t before = unit::fingerprint(*world);
  world->physical().fail_nth(1);
  EXPECT_EQ(world->add_memory(frames(5000, 6000)).error(), Error::no_memory);
  EXPECT_EQ(world->physical().fail_plan().last_site(), FailSite::section_storage);
  world->physical().fail_nth(0);
  EXPECT_EQ(unit::fingerprint(*world), before);
  EXPECT(world->add_memory(frames(5000, 6000)).ok());
}
