// SPDX-License-Identifier: MIT
#include "mm/machine.hpp"

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

Error refused(const MachineShape& shape) { return Machine::storage_bytes(shape).error(); }

constexpr PhysRange kMemory[] = {frames(0, 2048)};

}  // namespace

TEST(machine, runs_the_same_start_as_the_kernel) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  EXPECT_EQ(world->physical().levels().free, 2048u);
  EXPECT_EQ(world->counter(stats::Counter::frames_free), 2048);
  EXPECT(world->manager().valid());
  EXPECT_EQ(world->cpu_count(), 1u);
}

TEST(machine, uses_the_last_frame_and_the_first) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const auto all = world->physical().allocate(Order{11}, Gfp::atomic);
  ASSERT(all.ok());
  EXPECT_EQ(raw(all.take()), 0u);
  std::byte* const bytes = world->frames().open(FrameNumber{0}).bytes();
  bytes[0] = bytes[2048 * kPageSize - 1] = std::byte{0x5a};  // within the storage: ASan looks
  EXPECT(reinterpret_cast<std::uintptr_t>(bytes) % kPageSize == 0);
}

TEST(machine, two_machines_share_nothing) {
  World first({.memory = kMemory});
  World second({.memory = kMemory});
  ASSERT(first.ok() && second.ok());
  const std::uint64_t untouched = unit::fingerprint(*first);
  EXPECT_EQ(unit::fingerprint(*second), untouched);
  EXPECT(second->physical().allocate(Order{4}).ok());
  EXPECT_EQ(unit::fingerprint(*first), untouched);
  EXPECT(unit::fingerprint(*second) != untouched);
  EXPECT_EQ(first->counter(stats::Counter::frame_allocations), 0);
  EXPECT_EQ(second->counter(stats::Counter::frame_allocations), 1);
}

TEST(machine, clears_storage_that_it_does_not_know) {
  const auto bytes = Machine::storage_bytes({.memory = kMemory});
  ASSERT(bytes.ok());
  const auto room = unit::storage(bytes.take());
  ASSERT(!room.empty());
  __builtin_memset(room.data(), 0xee, room.size());
  const auto made = Machine::create(room, Machine::Contents::unknown, {.memory = kMemory});
  ASSERT(made.ok());
  PerCpu* const former = unit::stand_on(&made.take()->cpu(0));
  made.take()->start();
  EXPECT(made.take()->manager().valid());
  EXPECT_EQ(made.take()->counter(stats::Counter::frames_free), 2048);
  unit::stand_on(former);
}

TEST(machine, refuses_storage_that_is_too_small_or_not_aligned) {
  const std::size_t bytes = Machine::storage_bytes({.memory = kMemory}).take();
  const auto room = unit::storage(bytes + kPageSize);
  ASSERT(!room.empty());
  const auto create = [](std::span<std::byte> storage) {
    return Machine::create(storage, Machine::Contents::unknown, {.memory = kMemory}).error();
  };
  EXPECT_EQ(create(room.first(bytes - 1)), Error::invalid);
  EXPECT_EQ(create(room.subspan(8, bytes)), Error::invalid);
  EXPECT_EQ(create({}), Error::invalid);
  EXPECT_EQ(create(room.first(bytes)), Error::ok);
}

TEST(machine, refuses_bad_shapes) {
  static constexpr PhysRange kHalf[] = {{PhysAddr{0x800}, PhysAddr{0x2000}}};
  static constexpr PhysRange kHalfEnd[] = {{PhysAddr{0x1000}, PhysAddr{0x2800}}};
  static constexpr PhysRange kBackwards[] = {frames(5, 3)};
  static constexpr PhysRange kDescending[] = {frames(50, 60), frames(10, 20)};
  static constexpr PhysRange kOverlapping[] = {frames(0, 20), frames(19, 30)};
  static constexpr PhysRange kNothing[] = {frames(7, 7), frames(9, 9)};
  for (const std::span<const PhysRange> memory :
       {std::span<const PhysRange>(kHalf), std::span<const PhysRange>(kHalfEnd),
        std::span<const PhysRange>(kBackwards), std::span<const PhysRange>(kDescending),
        std::span<const PhysRange>(kOverlapping), std::span<const PhysRange>(kNothing),
        std::span<const PhysRange>()})
    EXPECT_EQ(refused({.memory = memory}), Error::invalid);
  EXPECT_EQ(refused({.memory = kMemory, .cpus = 0}), Error::invalid);
  EXPECT_EQ(refused({.memory = kMemory, .cpus = config::max_cpus + 1}), Error::too_big);
  EXPECT_EQ(refused({.memory = kMemory, .cpus = config::max_cpus}), Error::ok);
}

TEST(machine, refuses_reserved_ranges_outside_of_memory) {
  static constexpr PhysRange kTwo[] = {frames(10, 20), frames(30, 40)};
  static constexpr PhysRange kBefore[] = {frames(9, 11)};
  static constexpr PhysRange kAfter[] = {frames(35, 41)};
  static constexpr PhysRange kAcross[] = {frames(15, 35)};
  static constexpr PhysRange kGap[] = {frames(22, 24)};
  static constexpr PhysRange kUnsorted[] = {frames(31, 32), frames(11, 12)};
  static constexpr PhysRange kAll[] = {frames(10, 20), frames(30, 40)};
  EXPECT_EQ(refused({.memory = kTwo, .reserved = kBefore}), Error::invalid);
  EXPECT_EQ(refused({.memory = kTwo, .reserved = kAfter}), Error::invalid);
  EXPECT_EQ(refused({.memory = kTwo, .reserved = kAcross}), Error::invalid);
  EXPECT_EQ(refused({.memory = kTwo, .reserved = kGap}), Error::invalid);
  EXPECT_EQ(refused({.memory = kTwo, .reserved = kUnsorted}), Error::invalid);
  EXPECT_EQ(refused({.memory = kTwo, .reserved = kAll}), Error::ok);
}

TEST(machine, refuses_memory_beyond_the_limit_before_it_counts_bytes) {
  constexpr std::uint64_t kLimit = config::max_memory_gib * 1_GiB;
  for (const std::uint64_t end : {kLimit + kPageSize, std::uint64_t{1} << 52, std::uint64_t{1} << 63,
                                  ~std::uint64_t{0} << kPageShift}) {
    const PhysRange far[] = {{PhysAddr{0}, PhysAddr{end}}};
    EXPECT_EQ(refused({.memory = far}), Error::too_big);
  }
  const PhysRange most[] = {{PhysAddr{0}, PhysAddr{kLimit}}};
  EXPECT_EQ(refused({.memory = most}), Error::ok);
}

TEST(machine, refuses_more_ranges_than_its_tables_hold) {
  static std::array<PhysRange, 200> ranges;
  for (std::uint64_t n = 0; n < ranges.size(); ++n) ranges[n] = frames(2 * n, 2 * n + 1);
  constexpr std::size_t kMost = std::tuple_size_v<decltype(BootInfo::memory)>;
  constexpr std::size_t kMostReserved = std::tuple_size_v<decltype(BootInfo::reserved)>;
  static_assert(kMost < ranges.size());
  const std::span<const PhysRange> all(ranges);
  EXPECT_EQ(refused({.memory = all.first(kMost + 1)}), Error::too_big);
  EXPECT_EQ(refused({.memory = all.first(kMost)}), Error::ok);
  EXPECT_EQ(refused({.memory = all.first(kMost), .reserved = all.first(kMostReserved + 1)}), Error::too_big);
  World world({.memory = all.first(kMost), .reserved = all.first(kMostReserved)});
  ASSERT(world.ok());
  EXPECT_EQ(world->physical().levels().free, kMost - kMostReserved);
}

TEST(machine, no_storage_is_no_machine) {
  static constexpr PhysRange kLarge[] = {{PhysAddr{0}, PhysAddr{8_GiB}}};
  World world({.memory = kLarge});
  EXPECT(!world.ok());
}
