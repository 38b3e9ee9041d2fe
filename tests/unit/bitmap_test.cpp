// SPDX-License-Identifier: MIT
#include "mm/base/bitmap.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;
using Bit = Bitmap::Bit;

namespace {

constexpr std::size_t kSize = 200;  // four words, the last one partial
constexpr std::uint64_t kGuard = 0x5a5a'5a5a'5a5a'5a5a;

struct World {
  std::uint64_t words[5] = {0, 0, 0, 0, kGuard};
  Bitmap map{{words, 4}, kSize};
};

// The same with one bool for each bit and no cleverness.
struct Naive {
  bool bits[kSize] = {};

  void fill(std::size_t first, std::size_t count, bool value) {
    for (std::size_t i = first; i < first + count; ++i) bits[i] = value;
  }
  std::size_t count(bool value, std::size_t first, std::size_t count) const {
    std::size_t found = 0;
    for (std::size_t i = first; i < first + count; ++i) found += bits[i] == value;
    return found;
  }
  std::size_t find_run(bool value, std::size_t length, std::size_t alignment, std::size_t from) const {
    for (std::size_t i = (from + alignment - 1) / alignment * alignment; i + length <= kSize; i += alignment)
      if (count(value, i, length) == length) return i;
    return kSize;
  }
};

}  // namespace

TEST(bitmap, sets_and_clears_across_words) {
  World world;
  world.map.set(60, 70);
  EXPECT_EQ(world.words[0], 0xf000'0000'0000'0000u);
  EXPECT_EQ(world.words[1], ~std::uint64_t{0});
  EXPECT_EQ(world.words[2], 3u);
  world.map.clear(64, 64);
  EXPECT_EQ(world.words[1], 0u);
  EXPECT_EQ(world.map.count(Bit::set), 6u);
  EXPECT(world.map.test(63) && !world.map.test(64) && world.map.test(129) && !world.map.test(130));
}

TEST(bitmap, leaves_bits_beyond_its_size_alone) {
  World world;
  world.words[3] = kGuard << 8;
  world.map.set(0, kSize);
  EXPECT_EQ(world.words[3], kGuard << 8 | 0xff);
  EXPECT_EQ(world.words[4], kGuard);
  EXPECT_EQ(world.map.count(Bit::set), kSize);
  world.map.clear(0, kSize);
  EXPECT_EQ(world.words[3], kGuard << 8);
  EXPECT_EQ(world.map.find(Bit::set).error(), Error::not_found);  // though bits behind the end are set
}

TEST(bitmap, finds_the_first_run_that_fits) {
  World world;
  world.map.set(0, kSize);
  world.map.clear(5, 3);
  world.map.clear(62, 5);
  world.map.clear(130, 20);
  EXPECT_EQ(world.map.find_run(Bit::clear, 3).take(), 5u);
  EXPECT_EQ(world.map.find_run(Bit::clear, 4).take(), 62u);
  EXPECT_EQ(world.map.find_run(Bit::clear, 2, 8).take(), 64u);
  EXPECT_EQ(world.map.find_run(Bit::clear, 8, 8).take(), 136u);
  EXPECT_EQ(world.map.find_run(Bit::clear, 3, 1, 6).take(), 62u);  // what is left of the first is too short
  EXPECT_EQ(world.map.find_run(Bit::clear, 21).error(), Error::not_found);
  EXPECT_EQ(world.map.find_run(Bit::clear, 16, 16).error(), Error::not_found);
}

TEST(bitmap, a_run_may_end_with_the_map) {
  World world;
  EXPECT_EQ(world.map.find_run(Bit::clear, kSize).take(), 0u);
  EXPECT_EQ(world.map.find_run(Bit::clear, kSize + 1).error(), Error::not_found);
  EXPECT_EQ(world.map.find_run(Bit::clear, 8, 64, 129).take(), 192u);
  EXPECT_EQ(world.map.find_run(Bit::clear, 9, 64, 129).error(), Error::not_found);
}

TEST(bitmap, refuses_what_lies_outside) {
  World world;
  EXPECT_PANIC(world.map.set(kSize), "first <= bits_");
  EXPECT_PANIC(world.map.clear(kSize - 1, 2), "first <= bits_");
  EXPECT_PANIC(world.map.set(1, ~std::size_t{0}), "first <= bits_");
  EXPECT_PANIC((void)world.map.find_run(Bit::set, 0), "length > 0");
  EXPECT_PANIC((void)world.map.find_run(Bit::set, 1, 3), "alignment");
  EXPECT_PANIC((Bitmap{{world.words, 3}, kSize}), "words_for");
  EXPECT(world.map.all(Bit::set, kSize, 0));  // no bits: nothing outside
}

TEST(bitmap, agrees_with_the_naive_model) {
  Random random{unit::seed()};
  World world;
  Naive naive;
  for (int turn = 0; turn < 3000; ++turn) {
    const std::size_t first = random.below(kSize), count = random.between(0, kSize - first);
    const bool value = random.one_in(2);
    const Bit bit = value ? Bit::set : Bit::clear;
    naive.fill(first, count > 40 ? count % 40 : count, value);
    value ? world.map.set(first, count > 40 ? count % 40 : count)
          : world.map.clear(first, count > 40 ? count % 40 : count);

    ASSERT(world.map.count(bit, first, count) == naive.count(value, first, count));
    ASSERT(world.map.all(bit, first, count) == (naive.count(value, first, count) == count));
    const std::size_t length = random.between(1, 30), alignment = std::size_t{1} << random.below(6);
    const auto found = world.map.find_run(bit, length, alignment, first);
    ASSERT((found.ok() ? found.take() : kSize) == naive.find_run(value, length, alignment, first));
  }
  for (std::size_t i = 0; i < kSize; ++i) ASSERT(world.map.test(i) == naive.bits[i]);
  EXPECT_EQ(world.words[4], kGuard);
}
