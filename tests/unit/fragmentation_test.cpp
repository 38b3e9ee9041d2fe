// The two indices of fragmentation, against values worked out by hand.
// SPDX-License-Identifier: MIT
#include "mm/physical/fragmentation.hpp"

#include "tests/unit/unit.hpp"

using namespace memory;

TEST(fragmentation, nothing_free_is_unusable_and_not_broken_up) {
  const FreeBlocks none{};
  EXPECT_EQ(frames_in(none), 0u);
  EXPECT(!largest_order(none).has_value());
  EXPECT_EQ(unusable_index(none, 0), 1000u);
  EXPECT_EQ(external_index(none, 3).value_or(7777), 0u);
}

TEST(fragmentation, says_which_share_a_request_cannot_use) {
  const FreeBlocks blocks{8, 4, 0, 2};  // 8 + 8 + 0 + 16 frames
  EXPECT_EQ(frames_in(blocks), 32u);
  EXPECT_EQ(largest_order(blocks).value_or(99), 3u);
  EXPECT_EQ(unusable_index(blocks, 0), 0u);
  EXPECT_EQ(unusable_index(blocks, 1), 250u);
  EXPECT_EQ(unusable_index(blocks, 2), 500u);
  EXPECT_EQ(unusable_index(blocks, 3), 500u);
  EXPECT_EQ(unusable_index(blocks, 4), 1000u);
}

TEST(fragmentation, tells_want_of_memory_from_broken_up_memory) {
  const FreeBlocks blocks{8, 4, 0, 2};
  EXPECT(!external_index(blocks, 3).has_value());  // it would succeed
  EXPECT_EQ(external_index(blocks, 4).value_or(7777), 1000u - (1000 + 32 * 1000 / 16) / 14);
  const FreeBlocks single{1};
  EXPECT_EQ(external_index(single, 9).value_or(7777), 0u);  // one frame: want of memory
  FreeBlocks dust{};
  dust[0] = 100'000;
  EXPECT(external_index(dust, 9).value_or(0) > 990);
}
