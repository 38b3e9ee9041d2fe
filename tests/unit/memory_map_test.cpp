// The memory map: order, overlap, rounding, limits, and what happens without room.
// SPDX-License-Identifier: MIT
#include "boot/memory_map.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/boot_world.hpp"

using namespace unit::boot_world;
using boot::MemoryMap;
using memory::Error;
using memory::Random;

namespace {

constexpr PhysAddr kNoLimit{std::uint64_t{1} << 40};

void add(MemoryMap& map, std::uint64_t first, std::uint64_t end, MemoryKind kind = MemoryKind::available) {
  map.add(PhysAddr{first}, end - first, kind);
}

bool range_is(std::size_t i, std::uint64_t first, std::uint64_t end, MemoryKind kind) {
  return i < world.info.memory_ranges &&
         world.info.memory[i] == memory::MemoryRange{{PhysAddr{first}, PhysAddr{end}}, kind};
}

// What a naive reading of the same ranges gives, in steps of 512 bytes.
struct Model {
  static constexpr std::size_t kFrames = 96;
  static constexpr std::uint64_t kStep = 512;
  static constexpr std::size_t kSteps = kFrames * memory::kPageSize / kStep;
  std::array<std::uint8_t, kSteps> worst{};  // 0: nothing, else 1 + kind

  void add(std::uint64_t first, std::uint64_t end, MemoryKind kind) {
    const auto rank = static_cast<std::uint8_t>(1 + static_cast<unsigned>(kind));
    for (std::uint64_t i = first / kStep; i < end / kStep; ++i) {
      if (worst[i] < rank) worst[i] = rank;
    }
  }
  // 0 when nothing is known of the frame or when it is only partly available.
  unsigned frame(std::size_t number) const {
    constexpr std::size_t kEach = memory::kPageSize / kStep;
    unsigned most = 0;
    unsigned least = 255;
    for (std::size_t i = number * kEach; i < (number + 1) * kEach; ++i) {
      if (worst[i] > most) most = worst[i];
      if (worst[i] < least) least = worst[i];
    }
    return most == 1 && least == 0 ? 0 : most;
  }
};
constinit Model model{};

unsigned frame_in(const BootInfo& info, std::size_t number) {
  for (std::size_t i = 0; i < info.memory_ranges; ++i) {
    if (info.memory[i].range.contains(
            memory::address_of(memory::FrameNumber{static_cast<unsigned>(number)}))) {
      return 1 + static_cast<unsigned>(info.memory[i].kind);
    }
  }
  return 0;
}

struct Raw {
  std::uint64_t first;
  std::uint64_t end;
  MemoryKind kind;
};

Raw random_range(Random& random) {
  const std::uint64_t step = random.one_in(3) ? Model::kStep : memory::kPageSize;
  const std::uint64_t last = Model::kFrames * memory::kPageSize / step;
  const std::uint64_t first = random.below(last);
  const std::uint64_t size = 1 + random.below(last - first < 12 ? last - first : 12);
  const bool available = !random.one_in(3);
  return {first * step, (first + size) * step,
          available ? MemoryKind::available : static_cast<MemoryKind>(1 + random.below(4))};
}

void shuffle(std::array<Raw, 48>& raw, Random& random) {
  for (std::size_t i = raw.size() - 1; i > 0; --i) std::swap(raw[i], raw[random.below(i + 1)]);
}

}  // namespace

TEST(memory_map, sorts_and_merges) {
  begin();
  add(world.map, 0x5000, 0x6000);
  add(world.map, 0x1000, 0x3000);
  add(world.map, 0x3000, 0x4800);
  add(world.map, 0x4800, 0x5000);
  add(world.map, 0x9000, 0xa000, MemoryKind::acpi_nvs);
  world.map.finish(world.info, kNoLimit);
  EXPECT_EQ(world.info.memory_ranges, 2u);
  EXPECT(range_is(0, 0x1000, 0x6000, MemoryKind::available));
  EXPECT(range_is(1, 0x9000, 0xa000, MemoryKind::acpi_nvs));
  EXPECT(boot::valid(world.info));
}

TEST(memory_map, the_less_usable_kind_wins) {
  begin();
  add(world.map, 0x2000, 0x4000, MemoryKind::reserved);
  add(world.map, 0x1000, 0x8000, MemoryKind::available);
  add(world.map, 0x3000, 0x5000, MemoryKind::acpi_reclaimable);
  add(world.map, 0x4000, 0x5000, MemoryKind::bad);
  world.map.finish(world.info, kNoLimit);
  EXPECT_EQ(world.info.memory_ranges, 4u);
  EXPECT(range_is(0, 0x1000, 0x2000, MemoryKind::available));
  EXPECT(range_is(1, 0x2000, 0x4000, MemoryKind::reserved));
  EXPECT(range_is(2, 0x4000, 0x5000, MemoryKind::bad));
  EXPECT(range_is(3, 0x5000, 0x8000, MemoryKind::available));
}

TEST(memory_map, available_shrinks_to_whole_frames_and_the_rest_grows) {
  begin();
  add(world.map, 0x0, 0x9fc00);  // as BIOSes say it
  add(world.map, 0x9fc00, 0xa0000, MemoryKind::reserved);
  add(world.map, 0x100001, 0x101fff);  // no whole frame
  add(world.map, 0x200800, 0x204000);
  add(world.map, 0x2037ff, 0x203800, MemoryKind::bad);  // one byte spoils its frame
  world.map.finish(world.info, kNoLimit);
  EXPECT_EQ(world.info.memory_ranges, 4u);
  EXPECT(range_is(0, 0x0, 0x9f000, MemoryKind::available));
  EXPECT(range_is(1, 0x9f000, 0xa0000, MemoryKind::reserved));
  EXPECT(range_is(2, 0x201000, 0x203000, MemoryKind::available));
  EXPECT(range_is(3, 0x203000, 0x204000, MemoryKind::bad));
}

TEST(memory_map, ranges_of_no_length_are_ignored_and_counted) {
  begin();
  add(world.map, 0x1000, 0x1000);
  add(world.map, 0x1000, 0x1000, MemoryKind::reserved);
  add(world.map, 0x0, 0x4000);
  world.map.finish(world.info, kNoLimit);
  EXPECT_EQ(world.map.empty_ranges(), 2u);
  EXPECT_EQ(world.info.memory_ranges, 1u);
  EXPECT(range_is(0, 0x0, 0x4000, MemoryKind::available));
}

TEST(memory_map, what_passes_the_end_of_the_address_space_is_clipped) {
  begin();
  add(world.map, 0x1000, 0x5000);
  world.map.add(PhysAddr{0x3000}, ~std::uint64_t{0}, MemoryKind::available);  // wraps
  world.map.add(PhysAddr{~std::uint64_t{0} - 1}, 5, MemoryKind::reserved);    // wraps, from far beyond
  world.map.add(PhysAddr{~std::uint64_t{0}}, ~std::uint64_t{0}, MemoryKind::available);
  EXPECT_EQ(world.map.clipped_ranges(), 3u);
  world.map.finish(world.info, PhysAddr{0x10000});
  EXPECT_EQ(world.info.memory_ranges, 1u);
  EXPECT(range_is(0, 0x1000, 0x10000, MemoryKind::available));
  EXPECT_EQ(world.info.bytes_above_limit, boot::kPhysicalEnd - 0x10000);
}

TEST(memory_map, the_whole_address_space_is_a_range) {
  begin();
  world.map.add(PhysAddr{0}, boot::kPhysicalEnd, MemoryKind::available);
  EXPECT_EQ(world.map.clipped_ranges(), 0u);
  world.map.add(PhysAddr{0}, boot::kPhysicalEnd + 1, MemoryKind::available);
  EXPECT_EQ(world.map.clipped_ranges(), 1u);
  world.map.finish(world.info, PhysAddr{0x10000});
  EXPECT_EQ(world.info.memory_ranges, 1u);
  EXPECT(range_is(0, 0, 0x10000, MemoryKind::available));
}

TEST(memory_map, memory_above_the_limit_is_counted_once) {
  begin();
  add(world.map, 0x8000, 0x20000);
  add(world.map, 0x8000, 0x20000);
  add(world.map, 0x18000, 0x1c000, MemoryKind::reserved);
  add(world.map, 0x30000, 0x31000, MemoryKind::reserved);
  world.map.finish(world.info, PhysAddr{0x10000});
  EXPECT_EQ(world.info.memory_ranges, 1u);
  EXPECT(range_is(0, 0x8000, 0x10000, MemoryKind::available));
  EXPECT_EQ(world.info.bytes_above_limit, 0x8000u + 0x4000u);
}

TEST(memory_map, agrees_with_a_naive_model) {
  Random random(unit::seed());
  for (unsigned round = 0; round < 60; ++round) {
    begin();
    model = {};
    const std::uint64_t count = 1 + random.below(40);
    for (std::uint64_t i = 0; i < count; ++i) {
      const Raw raw = random_range(random);
      add(world.map, raw.first, raw.end, raw.kind);
      model.add(raw.first, raw.end, raw.kind);
    }
    world.map.finish(world.info, kNoLimit);
    EXPECT_EQ(world.map.pieces_given_up(), 0u);
    EXPECT(boot::valid(world.info));
    for (std::size_t frame = 0; frame < Model::kFrames; ++frame) {
      ASSERT(frame_in(world.info, frame) == model.frame(frame));
    }
  }
}

TEST(memory_map, order_and_repetition_change_nothing) {
  static constinit std::array<Raw, 48> raw{};
  static constinit BootInfo sorted{};
  Random random(unit::seed());
  for (unsigned round = 0; round < 40; ++round) {
    std::uint64_t at = 0;
    for (Raw& range : raw) {  // clean: ascending, apart or touching
      const std::uint64_t first = at + memory::kPageSize * random.below(3);
      at = first + Model::kStep * (1 + random.below(64));
      range = {first, at, random.one_in(3) ? MemoryKind::reserved : MemoryKind::available};
    }
    begin();
    for (const Raw& range : raw) add(world.map, range.first, range.end, range.kind);
    world.map.finish(sorted, kNoLimit);

    shuffle(raw, random);
    world.map.clear();
    for (const Raw& range : raw) add(world.map, range.first, range.end, range.kind);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      const Raw& again = raw[random.below(raw.size())];
      add(world.map, again.first, again.end, again.kind);
    }
    world.map.finish(world.info, kNoLimit);
    EXPECT_EQ(available_bytes(world.info), available_bytes(sorted));
    ASSERT(world.info.memory_ranges == sorted.memory_ranges);
    for (std::size_t i = 0; i < sorted.memory_ranges; ++i) EXPECT(world.info.memory[i] == sorted.memory[i]);
  }
}

TEST(memory_map, without_room_only_usable_memory_is_lost) {
  static constinit MemoryMap small{8};
  Random random(unit::seed());
  std::size_t given_up = 0;
  for (unsigned round = 0; round < 100; ++round) {
    begin();
    small.clear();
    model = {};
    for (unsigned i = 0; i < 24; ++i) {
      const Raw raw = random_range(random);
      add(small, raw.first, raw.end, raw.kind);
      model.add(raw.first, raw.end, raw.kind);
    }
    small.finish(world.info, kNoLimit);
    given_up += small.pieces_given_up();
    EXPECT(boot::valid(world.info));
    for (std::size_t frame = 0; frame < Model::kFrames; ++frame) {
      if (frame_in(world.info, frame) == 1) ASSERT(model.frame(frame) == 1);
    }
  }
  EXPECT(given_up > 0);
}

TEST(memory_map, ten_thousand_ranges_leave_the_largest) {
  begin();
  for (std::uint64_t i = 0; i < 10'000; ++i) {  // shuffled: 7919 has no divisor in common with 10000
    const std::uint64_t at = 0x1000'0000 + (i * 7919 % 10'000) * 0x2000;
    add(world.map, at, at + 0x1000, i % 5 == 0 ? MemoryKind::reserved : MemoryKind::available);
  }
  add(world.map, 0x100000, 0x800'0000);
  world.map.finish(world.info, kNoLimit);
  EXPECT(boot::valid(world.info));
  EXPECT(world.map.pieces_given_up() > 0);
  EXPECT(world.info.memory_ranges_dropped > 0);
  EXPECT_EQ(world.info.memory_ranges, world.info.memory.size());
  EXPECT(boot::is_available(world.info, {PhysAddr{0x100000}, PhysAddr{0x800'0000}}));
}

TEST(memory_map, the_table_drops_the_least_valuable) {
  begin();
  const std::uint64_t room = world.info.memory.size();
  for (std::uint64_t i = 0; i < room; ++i) {
    add(world.map, i * 0x10000, i * 0x10000 + 0x3000, i == 5 ? MemoryKind::reserved : MemoryKind::available);
  }
  add(world.map, room * 0x10000, room * 0x10000 + 0x8000);
  world.map.finish(world.info, kNoLimit);
  EXPECT_EQ(world.info.memory_ranges, room);
  EXPECT_EQ(world.info.memory_ranges_dropped, 1u);
  EXPECT_EQ(available_bytes(world.info), (room - 1) * 0x3000 + 0x8000);  // the reserved one went

  add(world.map, (room + 1) * 0x10000, (room + 1) * 0x10000 + 0x1000);
  world.map.finish(world.info, kNoLimit);
  EXPECT_EQ(world.info.memory_ranges_dropped, 2u);
  EXPECT_EQ(available_bytes(world.info), (room - 1) * 0x3000 + 0x8000);  // the new one went
  EXPECT(boot::valid(world.info));
}

TEST(memory_map, reserves_the_frames_that_a_range_touches) {
  begin();
  add(world.map, 0x1000, 0x8000);
  add(world.map, 0x8000, 0x9000, MemoryKind::acpi_nvs);
  add(world.map, 0x9000, 0x20000);
  world.map.finish(world.info, kNoLimit);

  EXPECT(boot::reserve(world.info, {PhysAddr{0x5fff}, PhysAddr{0x6001}}).ok());
  EXPECT(boot::reserve(world.info, {PhysAddr{0x3000}, PhysAddr{0x3000}}).ok());  // empty
  EXPECT(boot::reserve(world.info, {PhysAddr{0x7800}, PhysAddr{0x9800}}).ok());  // over the hole, merged
  EXPECT(boot::reserve(world.info, {PhysAddr{0x0}, PhysAddr{0x1000}}).ok());     // no memory there
  EXPECT(boot::reserve(world.info, {PhysAddr{0x1f000}, PhysAddr{0x30000}}).ok());
  EXPECT(boot::reserve(world.info, {PhysAddr{0x2000}, PhysAddr{0x2001}}).ok());
  ASSERT(world.info.reserved_ranges == 4);
  EXPECT(world.info.reserved[0] == (PhysRange{PhysAddr{0x2000}, PhysAddr{0x3000}}));
  EXPECT(world.info.reserved[1] == (PhysRange{PhysAddr{0x5000}, PhysAddr{0x8000}}));
  EXPECT(world.info.reserved[2] == (PhysRange{PhysAddr{0x9000}, PhysAddr{0xa000}}));
  EXPECT(world.info.reserved[3] == (PhysRange{PhysAddr{0x1f000}, PhysAddr{0x20000}}));
  EXPECT(boot::valid(world.info));

  EXPECT(boot::reserve(world.info, {PhysAddr{0x3000}, PhysAddr{0x1f000}}).ok());  // swallows and touches
  ASSERT(world.info.reserved_ranges == 2);
  EXPECT(world.info.reserved[0] == (PhysRange{PhysAddr{0x2000}, PhysAddr{0x8000}}));
  EXPECT(world.info.reserved[1] == (PhysRange{PhysAddr{0x9000}, PhysAddr{0x20000}}));
}

TEST(memory_map, a_full_list_of_reserved_ranges_is_an_error) {
  begin();
  add(world.map, 0, 0x100'0000);
  world.map.finish(world.info, kNoLimit);
  for (std::uint64_t i = 0; i < world.info.reserved.size(); ++i) {
    EXPECT(boot::reserve(world.info, {PhysAddr{i * 0x2000}, PhysAddr{i * 0x2000 + 1}}).ok());
  }
  EXPECT(boot::reserve(world.info, {PhysAddr{0x80'0000}, PhysAddr{0x80'0001}}).error() == Error::too_big);
  EXPECT(boot::reserve(world.info, {PhysAddr{0x1000}, PhysAddr{0x2000}}).ok());  // fills a gap: no new row
  EXPECT(boot::valid(world.info));
}

TEST(memory_map, knows_what_is_memory) {
  begin();
  add(world.map, 0x100000, 0x200000);
  add(world.map, 0x200000, 0x201000, MemoryKind::acpi_nvs);
  add(world.map, 0x201000, 0x202000, MemoryKind::bad);
  world.map.finish(world.info, kNoLimit);
  EXPECT(boot::is_memory(world.info, {PhysAddr{0xf0000}, PhysAddr{0x100000}}));  // firmware
  EXPECT(boot::is_memory(world.info, {PhysAddr{0xff000}, PhysAddr{0x201000}}));
  EXPECT(!boot::is_memory(world.info, {PhysAddr{0xff000}, PhysAddr{0x201001}}));
  EXPECT(!boot::is_memory(world.info, {PhysAddr{0x300000}, PhysAddr{0x300001}}));
  EXPECT(boot::is_available(world.info, {PhysAddr{0x1ff000}, PhysAddr{0x200000}}));
  EXPECT(!boot::is_available(world.info, {PhysAddr{0x1ff000}, PhysAddr{0x200001}}));
}

TEST(memory_map, valid_finds_what_is_broken) {
  begin();
  add(world.map, 0x1000, 0x8000);
  add(world.map, 0x9000, 0xb000);
  world.map.finish(world.info, kNoLimit);
  EXPECT(boot::reserve(world.info, {PhysAddr{0x2000}, PhysAddr{0x3000}}).ok());
  ASSERT(boot::valid(world.info));

  const auto broken = [](auto& field, auto value) {
    const auto before = field;
    field = value;
    const bool found = !boot::valid(world.info);
    field = before;
    return found;
  };
  EXPECT(broken(world.info.memory_ranges, world.info.memory.size() + 1));
  EXPECT(broken(world.info.memory[0].range.end, PhysAddr{0x8001}));  // half a frame
  EXPECT(broken(world.info.memory[0].range.end, PhysAddr{0x9000}));  // not merged
  EXPECT(broken(world.info.memory[0].range.end, PhysAddr{0xa000}));  // overlap
  EXPECT(broken(world.info.memory[1].range.end, PhysAddr{0x9000}));  // empty
  EXPECT(broken(world.info.reserved_ranges, world.info.reserved.size() + 1));
  EXPECT(broken(world.info.reserved[0].first, PhysAddr{0x0}));  // outside
  EXPECT(broken(world.info.reserved[0].end, PhysAddr{0x2000}));
  EXPECT(broken(world.info.reserved_ranges, std::size_t{2}));
  EXPECT(broken(world.info.module_count, world.info.modules.size() + 1));
  EXPECT(broken(world.info.command_line_size, world.info.command_line_text.size() + 1));
  world.info.modules[0].range = {PhysAddr{0x3000}, PhysAddr{0x3001}};
  EXPECT(broken(world.info.module_count, std::size_t{1}));  // not reserved
}
