// What the tests of the Buddy share: a machine without magazines, blocks by number and order, its shape in one number.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/bits.hpp"
#include "mm/base/random.hpp"
#include "mm/physical/buddy.hpp"
#include "tests/unit/world.hpp"

namespace unit::buddy {

using namespace memory;
using stats::Counter;

inline constexpr unsigned kOrders = config::max_order + 1;
inline constexpr unsigned kBlock = Pageblock::kFrames;

inline constexpr PhysRange kOneRun[] = {frames(0, 2048)};   // one block of order 11
inline constexpr PhysRange kTwoRuns[] = {frames(0, 4096)};  // two of them

constexpr Order order_of(unsigned order) { return Order{static_cast<std::uint8_t>(order)}; }

// Frame number of an allocation that must succeed.
inline FrameNumber take(World& world, unsigned order) {
  const auto frame = world->physical().allocate(order_of(order), Gfp::atomic);
  if (!frame.ok()) {
    unit::fail("an allocation found no memory", __FILE__, __LINE__);
    return kNoFrame;
  }
  return frame.take();
}
inline Error give(World& world, FrameNumber number, unsigned order) {
  return world->physical().release(number, order_of(order)).error();
}
inline unsigned take_raw(World& world, unsigned order) { return raw(take(world, order)); }

// Free blocks as "order 0, 1 ... 11" in one number, a hexadecimal digit each: 0x...0210 says one block of
// order 1 and two of order 2. Counts above 15 do not fit.
inline std::uint64_t shape(World& world) {
  std::uint64_t digits = 0;
  const auto blocks = world->physical().free_blocks();
  for (unsigned order = 0; order < kOrders; ++order)
    digits |= (blocks[order] < 16 ? blocks[order] : 15) << 4 * order;
  return digits;
}

inline constexpr std::uint64_t kOneOfOrder11 = 0x1000'0000'0000;

inline BuddyLists& lists_of(World& world) {
  return const_cast<BuddyLists&>(*world->physical().zone(ZoneKind::dma).record().lists);
}

}  // namespace unit::buddy
