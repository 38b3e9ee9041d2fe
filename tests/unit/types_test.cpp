// SPDX-License-Identifier: MIT
#include "mm/base/types.hpp"

#include "tests/unit/unit.hpp"

using namespace memory;

template <typename Left, typename Right>
concept Comparable = requires(Left left, Right right) { left == right; };
template <typename Left, typename Right>
concept Subtractable = requires(Left left, Right right) { left - right; };
template <typename Left, typename Right>
concept Addable = requires(Left left, Right right) { left + right; };

TEST(types, two_spaces_do_not_mix) {
  static_assert(Comparable<PhysAddr, PhysAddr> && !Comparable<PhysAddr, VirtAddr>);
  static_assert(Subtractable<VirtAddr, VirtAddr> && !Subtractable<VirtAddr, PhysAddr>);
  static_assert(!Addable<PhysAddr, PhysAddr> && !Comparable<PhysAddr, std::uint64_t>);
  static_assert(!Comparable<FrameNumber, std::uint32_t> && !Comparable<FrameNumber, Order>);
}

TEST(types, addresses_are_numbers_of_bytes) {
  const PhysAddr base{0x1000};
  EXPECT_EQ(base + 0x234, PhysAddr{0x1234});
  EXPECT_EQ(PhysAddr{0x1234} - base, 0x234u);
  EXPECT_EQ(PhysAddr{0x1234} - 0x34u, PhysAddr{0x1200});
  EXPECT(PhysAddr{1} < PhysAddr{2});
  PhysAddr moving = base;
  moving += kPageSize;
  EXPECT_EQ(moving, PhysAddr{0x2000});
}

TEST(types, alignment_rounds_both_ways) {
  const VirtAddr address{0x12345};
  EXPECT(!address.aligned_to(0x1000));
  EXPECT_EQ(address.aligned_down(0x1000), VirtAddr{0x12000});
  EXPECT_EQ(address.aligned_up(0x1000), VirtAddr{0x13000});
  EXPECT(VirtAddr{0x12000}.aligned_to(0x1000));
  EXPECT_EQ(VirtAddr{0x12000}.aligned_up(0x1000), VirtAddr{0x12000});
  EXPECT_EQ(VirtAddr{0x12000}.aligned_down(0x1000), VirtAddr{0x12000});
}

TEST(types, frames_and_addresses_convert_exactly) {
  EXPECT_EQ(address_of(FrameNumber{3}), PhysAddr{0x3000});
  EXPECT_EQ(frame_at(PhysAddr{0x3fff}), FrameNumber{3});
  EXPECT_EQ(frame_at(PhysAddr{0x4000}), FrameNumber{4});
  EXPECT_EQ(address_of(FrameNumber{0xffff'ffff}),
            PhysAddr{0xfff'ffff'f000});  // 16 TiB - 4 KiB: no truncation
  EXPECT_EQ(FrameNumber{7} - FrameNumber{3}, 4u);
  FrameNumber frame{9};
  ++frame;
  EXPECT_EQ(frame, FrameNumber{10});
}

TEST(types, an_order_is_a_power_of_two) {
  EXPECT_EQ(frames_in(Order{0}), 1u);
  EXPECT_EQ(frames_in(Order{11}), 2048u);
  EXPECT_EQ(bytes_in(Order{0}), 4096u);
  EXPECT_EQ(bytes_in(Order{9}), 2_MiB);
  EXPECT_EQ(1_GiB, 1024 * 1_MiB);
  EXPECT_EQ(1_MiB, 1024 * 1_KiB);
}
