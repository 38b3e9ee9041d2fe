// hold(): cutting held memory out of a finished map, and what cannot be held.
// SPDX-License-Identifier: MIT
#include "boot/hold.hpp"

#include "tests/unit/boot_world.hpp"

using memory::Error;
using memory::MemoryRange;
using namespace unit::boot_world;

namespace {

// Available 0x1000-0x9000, a hole, NVS 0xa000-0xb000, available 0xb000-0x20000 with 0xc000-0xd000 reserved.
BootInfo& fresh_info() {
  begin();
  const auto add = [](std::uint64_t first, std::uint64_t end, MemoryKind kind) {
    world.map.add(PhysAddr{first}, end - first, kind);
  };
  add(0x1000, 0x9000, MemoryKind::available);
  add(0xa000, 0xb000, MemoryKind::acpi_nvs);
  add(0xb000, 0x20000, MemoryKind::available);
  world.map.finish(world.info, PhysAddr{boot::kPhysicalEnd});
  EXPECT(boot::reserve(world.info, {PhysAddr{0xc000}, PhysAddr{0xd000}}).ok());
  return world.info;
}

Error try_hold(BootInfo& info, std::uint64_t first, std::uint64_t end) {
  return boot::hold(info, {PhysAddr{first}, PhysAddr{end}}).error();
}

struct Piece {
  std::uint64_t first;
  std::uint64_t end;
  MemoryKind kind;
};

bool map_is(const BootInfo& info, std::initializer_list<Piece> pieces) {
  std::size_t i = 0;
  for (const Piece& piece : pieces) {
    if (i >= info.memory_ranges) return false;
    if (info.memory[i++] != MemoryRange{{PhysAddr{piece.first}, PhysAddr{piece.end}}, piece.kind})
      return false;
  }
  return i == info.memory_ranges && boot::valid(info);
}

constexpr auto kFree = MemoryKind::available;
constexpr auto kHeld = MemoryKind::held;
constexpr auto kNvs = MemoryKind::acpi_nvs;

}  // namespace

TEST(hold, takes_the_middle_the_ends_and_the_whole_of_a_range) {
  BootInfo& info = fresh_info();
  EXPECT_EQ(try_hold(info, 0x10000, 0x12000), Error::ok);
  EXPECT(map_is(info, {{0x1000, 0x9000, kFree},
                       {0xa000, 0xb000, kNvs},
                       {0xb000, 0x10000, kFree},
                       {0x10000, 0x12000, kHeld},
                       {0x12000, 0x20000, kFree}}));
  EXPECT_EQ(try_hold(info, 0xb000, 0xc000), Error::ok);
  EXPECT_EQ(try_hold(info, 0x1f000, 0x20000), Error::ok);
  EXPECT_EQ(try_hold(info, 0x1000, 0x9000), Error::ok);
  EXPECT(map_is(info, {{0x1000, 0x9000, kHeld},
                       {0xa000, 0xb000, kNvs},
                       {0xb000, 0xc000, kHeld},
                       {0xc000, 0x10000, kFree},
                       {0x10000, 0x12000, kHeld},
                       {0x12000, 0x1f000, kFree},
                       {0x1f000, 0x20000, kHeld}}));
}

TEST(hold, neighbours_become_one_range) {
  BootInfo& info = fresh_info();
  EXPECT_EQ(try_hold(info, 0x10000, 0x12000), Error::ok);
  EXPECT_EQ(try_hold(info, 0x14000, 0x20000), Error::ok);
  EXPECT_EQ(try_hold(info, 0x12000, 0x14000), Error::ok);  // closes the gap: two ranges less
  EXPECT(map_is(info, {{0x1000, 0x9000, kFree},
                       {0xa000, 0xb000, kNvs},
                       {0xb000, 0x10000, kFree},
                       {0x10000, 0x20000, kHeld}}));
}

TEST(hold, refuses_what_is_not_all_usable_and_changes_nothing) {
  BootInfo& info = fresh_info();
  static constinit decltype(info.memory) before{};  // too large for a kernel stack
  before = info.memory;
  EXPECT_EQ(try_hold(info, 0x8000, 0xa000), Error::not_found);    // into a hole
  EXPECT_EQ(try_hold(info, 0x8000, 0xc000), Error::not_found);    // over one
  EXPECT_EQ(try_hold(info, 0xa000, 0xb000), Error::not_found);    // another kind
  EXPECT_EQ(try_hold(info, 0x1f000, 0x21000), Error::not_found);  // past the end
  EXPECT_EQ(try_hold(info, 0x100000, 0x200000), Error::not_found);
  EXPECT_EQ(try_hold(info, 0xb000, 0x20000), Error::busy);
  EXPECT_EQ(try_hold(info, 0xc000, 0xd000), Error::busy);
  EXPECT_EQ(try_hold(info, 0xb000, 0xe000), Error::busy);
  EXPECT(info.memory == before && info.memory_ranges == 3);
  EXPECT_EQ(try_hold(info, 0xd000, 0xe000), Error::ok);         // right beside what is in use
  EXPECT_EQ(try_hold(info, 0xd000, 0xe000), Error::not_found);  // once
}

TEST(hold, needs_room_in_the_table) {
  begin();
  BootInfo& info = world.info;
  const std::size_t room = info.memory.size();
  for (std::size_t i = 0; i < room - 1; ++i) {
    info.memory[info.memory_ranges++] = {{PhysAddr{i * 0x10000}, PhysAddr{i * 0x10000 + 0x4000}}, kFree};
  }
  static constinit decltype(info.memory) before{};  // too large for a kernel stack
  before = info.memory;
  EXPECT_EQ(try_hold(info, 0x11000, 0x12000), Error::too_big);  // would take two more
  EXPECT(info.memory == before && info.memory_ranges == room - 1);
  EXPECT_EQ(try_hold(info, 0x10000, 0x12000), Error::ok);
  EXPECT_EQ(info.memory_ranges, room);
  EXPECT(boot::valid(info));
  EXPECT_EQ(try_hold(info, 0x12000, 0x13000), Error::ok);  // grows the hold: no new row
  EXPECT_EQ(try_hold(info, 0x20000, 0x24000), Error::ok);  // a whole range: none either
  EXPECT(boot::valid(info));
  EXPECT_EQ(available_bytes(info), (room - 1) * 0x4000 - 0x3000 - 0x4000);
}

TEST(hold, wants_whole_frames) {
  BootInfo& info = fresh_info();
  EXPECT_PANIC((void)try_hold(info, 0x10000, 0x10000), "empty");
  EXPECT_PANIC((void)try_hold(info, 0x10800, 0x12000), "aligned");
}
