// SPDX-License-Identifier: MIT
#include "mm/base/random.hpp"

#include "tests/unit/unit.hpp"

using memory::Random;

// Fixed for ever: a seed in a bug report must mean the same everywhere. Python mirrors these values.
TEST(random, is_the_same_everywhere) {
  Random zero{0};
  EXPECT_EQ(zero.next(), 0x99ec'5f36'cb75'f2b4u);
  EXPECT_EQ(zero.next(), 0xbf6e'1f78'4956'452au);
  Random one{1};
  EXPECT_EQ(one.next(), 0xb3f2'af6d'0fc7'10c5u);
  EXPECT_EQ(one.below(1000), 520u);
  for (const unsigned expected : {5u, 3u, 6u, 1u, 0u}) EXPECT_EQ(one.below(10), expected);
  EXPECT_EQ(one.below((std::uint64_t{1} << 63) + 1), 3515805966490203214u);  // often drawn again
  EXPECT_EQ(one.next(), 15996139959407692321u);
  static_assert(Random{1}.next() == 0xb3f2'af6d'0fc7'10c5u);
}

TEST(random, below_reaches_every_value_alike) {
  Random random{unit::seed()};
  unsigned seen[7] = {};
  for (int turn = 0; turn < 7000; ++turn) {
    const std::uint64_t drawn = random.below(7);
    ASSERT(drawn < 7);
    ++seen[drawn];
  }
  for (const unsigned times : seen) EXPECT(times > 800 && times < 1200);  // 1000 +- 7 standard deviations
}

// With the bias of a plain multiplication or modulus the lower third would be hit in half of all cases.
TEST(random, below_has_no_bias_for_huge_ends) {
  Random random{unit::seed()};
  const std::uint64_t end = 3ull << 62;
  unsigned even = 0;
  for (int turn = 0; turn < 10000; ++turn) even += random.below(end) % 3 == 0;
  EXPECT(even > 3000 && even < 3700);
}

TEST(random, between_includes_both_ends) {
  Random random{unit::seed()};
  bool low = false, high = false;
  for (int turn = 0; turn < 200; ++turn) {
    const std::uint64_t drawn = random.between(5, 7);
    ASSERT(drawn >= 5 && drawn <= 7);
    low |= drawn == 5;
    high |= drawn == 7;
  }
  EXPECT(low && high);
  EXPECT_EQ(random.between(9, 9), 9u);
  random.between(0, ~std::uint64_t{0});  // all of them: no division by zero
  EXPECT_EQ(random.below(1), 0u);
  EXPECT(random.one_in(1));
}
