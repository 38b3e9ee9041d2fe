// Magazines for blocks of 64 KiB to 4 MiB, in machines too large for the kernel's own tests; and threads on no CPU.
// SPDX-License-Identifier: MIT
#include <thread>
#include <vector>

#include "mm/host/cpu.hpp"
#include "mm/host/machine.hpp"
#include "tests/unit/world.hpp"

using namespace memory;

namespace {

constexpr PhysRange kMemory[] = {unit::frames(0, 4096 + 131072)};  // 16 MiB in DMA, 512 MiB in DMA32
constexpr Order kNine{9};
constexpr Order kTen{10};

std::unique_ptr<host::Machine> machine_of(std::span<const PhysRange> memory) {
  const auto created = host::Machine::create({.memory = memory, .cpus = 2});
  return std::unique_ptr<host::Machine>(created.ok() ? created.take() : nullptr);
}

}  // namespace

TEST(large_magazine, serves_the_last_block_without_the_zone) {
  const auto owner = machine_of(kMemory);
  ASSERT(owner != nullptr);
  Machine& machine = **owner;
  const host::Cpu cpu(machine.cpu(0));
  Physical& physical = machine.physical();
  std::uint64_t parked = 0;
  for (std::uint8_t size = FrameCache::kSmallOrders; Order{size} <= kTen; ++size) {
    const Order order{size};
    const FrameNumber block = physical.allocate(order).take();
    EXPECT(physical.release(block, order).ok());
    EXPECT(machine.frames()[block].is(FrameState::cached, order));
    const std::uint64_t zones = physical.zone_levels().free_frames;
    EXPECT_EQ(physical.allocate(order).take(), block);
    EXPECT_EQ(physical.zone_levels().free_frames, zones);
    EXPECT(machine.manager().valid());
    EXPECT(physical.release(block, order).ok());
    EXPECT_EQ(physical.release(block, order).error(), Error::double_free);
    parked += frames_in(order);
  }
  EXPECT_EQ(physical.levels().cached, parked);
  EXPECT(parked > frames_in(kTen));
  EXPECT_EQ(physical.levels().free, physical.levels().managed);
  physical.quiesce();
  EXPECT_EQ(physical.levels().cached, 0u);
  EXPECT(machine.manager().valid());
}

TEST(large_magazine, a_cpu_parks_at_most_two_blocks_of_an_order) {
  const auto owner = machine_of(kMemory);
  ASSERT(owner != nullptr);
  Machine& machine = **owner;
  const host::Cpu cpu(machine.cpu(0));
  Physical& physical = machine.physical();
  std::vector<FrameNumber> held;
  for (unsigned n = 0; n < 6; ++n) held.push_back(physical.allocate(kNine).take());
  for (const FrameNumber block : held) EXPECT(physical.release(block, kNine).ok());
  EXPECT_EQ(physical.levels().cached, 2 * frames_in(kNine));
  EXPECT(machine.manager().valid());
}

TEST(large_magazine, a_zone_that_is_too_small_has_none) {
  static constexpr PhysRange kSmall[] = {unit::frames(0, 4096 + 65536)};  // 256 MiB in DMA32
  const auto owner = machine_of(kSmall);
  ASSERT(owner != nullptr);
  Machine& machine = **owner;
  const host::Cpu cpu(machine.cpu(0));
  Physical& physical = machine.physical();
  const auto parked = [&](Order order, Gfp flags) {
    const FrameNumber block = physical.allocate(order, flags).take();
    EXPECT(physical.release(block, order).ok());
    return machine.frames()[block].state() == FrameState::cached;
  };
  EXPECT(parked(kNine, Gfp::kernel));
  EXPECT(!parked(kTen, Gfp::kernel));
  EXPECT(!parked(kNine, Gfp::dma));
  EXPECT(parked(Order{5}, Gfp::dma));
  EXPECT(!parked(Order{6}, Gfp::dma));
}

TEST(large_magazine, what_is_parked_is_there_for_a_larger_request) {
  const auto owner = machine_of(kMemory);
  ASSERT(owner != nullptr);
  Machine& machine = **owner;
  Physical& physical = machine.physical();
  constexpr Order kEleven{11};
  unsigned count = 0;
  {
    const host::Cpu cpu(machine.cpu(1));
    const FrameNumber block = physical.allocate(kNine).take();
    EXPECT(physical.release(block, kNine).ok());  // parked there
  }
  const host::Cpu cpu(machine.cpu(0));
  while (physical.allocate(kEleven, Gfp::atomic).ok()) ++count;
  EXPECT_EQ(count,
            (4096u + 131072) / 2048 - (131072 / 256 + 2047) / 2048);  // all, but what DMA keeps for others
}

// Who stands on no CPU of a machine has no cache and asks the zone: nothing is left behind on a thread that ends.
TEST(large_magazine, a_thread_on_no_cpu_goes_to_the_zone) {
  const auto owner = machine_of(kMemory);
  ASSERT(owner != nullptr);
  Physical& physical = (*owner)->physical();
  bool good = false;
  std::jthread([&] {
    const auto frame = physical.allocate(Order{0});
    good = frame.ok() && physical.release(frame.take(), Order{0}).ok() && physical.levels().cached == 0;
  }).join();
  EXPECT(good);
  EXPECT((*owner)->manager().valid());
}
