// The early allocator: where it takes frames, what it refuses, what it hands over.
// SPDX-License-Identifier: MIT
#include "mm/physical/early.hpp"

#include "tests/unit/world.hpp"

using namespace memory;

namespace {

constexpr PhysAddr kFar{64_GiB};

BootInfo* info_with(std::span<const PhysRange> memory, std::span<const PhysRange> reserved) {
  BootInfo* const info = unit::fresh<BootInfo>();
  if (info == nullptr) return nullptr;
  for (const PhysRange range : memory) info->memory[info->memory_ranges++] = {range, MemoryKind::available};
  for (const PhysRange range : reserved) info->reserved[info->reserved_ranges++] = range;
  return info;
}

EarlyAllocator* early_with(std::span<const PhysRange> memory, std::span<const PhysRange> reserved = {},
                           PhysAddr reach = kFar) {
  const BootInfo* const info = info_with(memory, reserved);
  return info == nullptr ? nullptr : unit::fresh<EarlyAllocator>(*info, reach);
}

constexpr PhysRange kib(std::uint64_t first, std::uint64_t end) {
  return {PhysAddr{first * 1024}, PhysAddr{end * 1024}};
}
constexpr PhysRange mib(std::uint64_t first, std::uint64_t end) { return kib(first * 1024, end * 1024); }

std::uint64_t take(EarlyAllocator& early, std::size_t frames = 1) {
  const auto got = early.allocate(frames);
  return got.ok() ? got.take().value : ~std::uint64_t{0};
}

}  // namespace

TEST(early, spares_the_memory_that_old_devices_reach) {
  static constexpr PhysRange kMemory[] = {kib(4, 640), mib(1, 20)};
  EarlyAllocator* const early = early_with(kMemory);
  ASSERT(early != nullptr);
  for (std::uint64_t n = 0; n < 1024; ++n) EXPECT_EQ(take(*early), 16_MiB + n * 4096);
  EXPECT_EQ(take(*early), 4_KiB);       // above 16 MiB all is gone: now from the bottom
  EXPECT_EQ(take(*early, 159), 1_MiB);  // does not fit what is left of the first range
  EXPECT_EQ(take(*early, 158), 8_KiB);
  EXPECT_EQ(early->allocated_frames(), 1024u + 1 + 159 + 158);
}

TEST(early, stays_within_its_reach) {
  static constexpr PhysRange kMemory[] = {mib(1, 2), mib(30, 40), mib(50, 60)};
  EarlyAllocator* const early = early_with(kMemory, {}, PhysAddr{31_MiB});
  ASSERT(early != nullptr);
  EXPECT_EQ(take(*early, 256), 30_MiB);
  EXPECT_EQ(take(*early, 1), 1_MiB);  // the next frame at 31 MiB would end beyond
  EXPECT_EQ(take(*early, 256), ~std::uint64_t{0});
  EXPECT_EQ(early->free_bytes(), 1_MiB - 4096 + 9_MiB + 10_MiB);
}

TEST(early, runs_out_of_frames_and_says_so) {
  static constexpr PhysRange kMemory[] = {kib(16, 28), kib(32, 36)};
  EarlyAllocator* const early = early_with(kMemory);
  ASSERT(early != nullptr);
  EXPECT_EQ(early->allocate(4).error(), Error::no_memory);
  EXPECT_EQ(early->allocate(std::size_t{1} << 52).error(), Error::no_memory);        // 2^64 bytes
  EXPECT_EQ(early->allocate((std::size_t{1} << 52) + 1).error(), Error::no_memory);  // and 4 KiB
  EXPECT_EQ(early->allocate(~std::size_t{0}).error(), Error::no_memory);
  for (unsigned n = 0; n < 4; ++n) EXPECT(early->allocate().ok());
  EXPECT_EQ(early->allocate().error(), Error::no_memory);
  EXPECT_EQ(early->free_bytes(), 0u);
  EXPECT_EQ(early->allocated_frames(), 4u);
}

TEST(early, never_gives_what_is_reserved_or_not_available) {
  static constexpr PhysRange kMemory[] = {kib(0, 64), kib(128, 192)};
  static constexpr PhysRange kReserved[] = {kib(0, 4), kib(16, 20), kib(60, 132), kib(188, 300)};
  BootInfo* const info = info_with(kMemory, kReserved);
  ASSERT(info != nullptr);
  info->memory[2] = {mib(1, 8), MemoryKind::acpi_nvs};
  info->memory_ranges = 3;
  EarlyAllocator* const early = unit::fresh<EarlyAllocator>(*info, kFar);
  ASSERT(early != nullptr);
  const std::uint64_t free = early->free_bytes();
  EXPECT_EQ(free, (12 + 40 + 56) * 1_KiB);
  for (std::uint64_t n = 0; n < free / 4096; ++n) {
    const auto got = early->allocate();
    ASSERT(got.ok());
    for (const PhysRange& reserved : kReserved) EXPECT(!reserved.contains(got.take()));
    EXPECT(kMemory[0].contains(got.take()) || kMemory[1].contains(got.take()));
  }
  EXPECT(!early->allocate().ok());
}

TEST(early, hands_over_what_is_left_in_order_and_is_refused_from_then_on) {
  static constexpr PhysRange kMemory[] = {kib(4, 64), mib(1, 17)};
  EarlyAllocator* const early = early_with(kMemory);
  ASSERT(early != nullptr);
  EXPECT_EQ(take(*early, 256), 16_MiB);  // all of it above 16 MiB: an empty range is not handed over
  EXPECT_EQ(take(*early), 4_KiB);
  static std::array<PhysRange, 4> got;
  static std::size_t count;
  count = 0;
  early->hand_over([](PhysRange range) { got[count++ % got.size()] = range; });
  EXPECT_EQ(count, 2u);
  EXPECT(got[0] == kib(8, 64));
  EXPECT(got[1] == mib(1, 16));
  EXPECT_PANIC((void)early->allocate(), "handed_over");
  EXPECT_PANIC(early->hand_over([](PhysRange) {}), "handed_over");
}

// As many ranges as the boot information may have, each cut in two by a reserved one: nothing is dropped.
TEST(early, has_room_for_every_range_that_boot_information_can_have) {
  BootInfo* const info = info_with({}, {});
  ASSERT(info != nullptr);
  for (std::uint64_t n = 0; n < info->memory.size(); ++n)
    info->memory[n] = {kib(12000 + n * 64, 12000 + n * 64 + 48), MemoryKind::available};
  for (std::uint64_t n = 0; n < info->reserved.size(); ++n) {
    info->reserved[n] = kib(12000 + n * 64 + 16, 12000 + n * 64 + 20);
  }
  info->memory_ranges = info->memory.size();
  info->reserved_ranges = info->reserved.size();
  EarlyAllocator* const early = unit::fresh<EarlyAllocator>(*info, kFar);
  ASSERT(early != nullptr);
  EXPECT_EQ(early->dropped_ranges(), 0u);
  EXPECT_EQ(early->free_bytes(), info->memory.size() * 48_KiB - info->reserved.size() * 4_KiB);
}
