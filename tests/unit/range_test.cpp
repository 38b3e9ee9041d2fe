// SPDX-License-Identifier: MIT
#include "mm/base/range.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;

namespace {

constexpr PhysRange range(std::uint64_t first, std::uint64_t end) { return {PhysAddr{first}, PhysAddr{end}}; }

// The members of a range below 64, as bits.
std::uint64_t bits_of(PhysRange range) {
  std::uint64_t bits = 0;
  for (PhysAddr at = range.first; at < range.end; at += 1) bits |= std::uint64_t{1} << at.value;
  return bits;
}

}  // namespace

TEST(range, refuses_what_leaves_its_space) {
  EXPECT_EQ(PhysRange::create(PhysAddr{0x1000}, 0x2000).take(), range(0x1000, 0x3000));
  EXPECT(PhysRange::create(PhysAddr{~0ull - 1}, 1).ok());
  EXPECT_EQ(PhysRange::create(PhysAddr{~0ull - 1}, 2).error(), Error::invalid);
  EXPECT_EQ(PhysRange::create(PhysAddr{0x1000}, ~0ull).error(), Error::invalid);
  EXPECT_EQ(PhysRange::create(PhysAddr{0}, ~0ull).take().bytes(), ~0ull);
  EXPECT(FrameRange::create(FrameNumber{0xffff'0000}, 0xffff).ok());
  EXPECT_EQ(FrameRange::create(FrameNumber{0xffff'0000}, 0x1'0000).error(), Error::invalid);
  EXPECT_EQ(FrameRange::create(FrameNumber{1}, 1ull << 32).error(), Error::invalid);
}

TEST(range, refuses_ends_in_the_wrong_order) {
  EXPECT_EQ(VirtRange::between(VirtAddr{2}, VirtAddr{1}).error(), Error::invalid);
  EXPECT(VirtRange::between(VirtAddr{2}, VirtAddr{2}).take().empty());
}

TEST(range, touching_is_not_overlapping) {
  EXPECT(!range(1, 3).overlaps(range(3, 5)));
  EXPECT(range(1, 3).touches(range(3, 5)));
  EXPECT(range(3, 5).touches(range(1, 3)));
  EXPECT(range(1, 4).overlaps(range(3, 5)));
  EXPECT(!range(1, 9).overlaps(range(4, 4)));  // an empty range overlaps nothing
}

TEST(range, contains_its_first_and_not_its_end) {
  EXPECT(range(1, 3).contains(PhysAddr{1}));
  EXPECT(!range(1, 3).contains(PhysAddr{3}));
  EXPECT(range(1, 3).contains(range(1, 3)));
  EXPECT(!range(1, 3).contains(range(2, 4)));
  EXPECT(!range(1, 3).contains(range(0, 2)));
}

TEST(range, set_operations_agree_with_bits) {
  Random random{unit::seed()};
  for (int turn = 0; turn < 2000; ++turn) {
    const std::uint64_t first = random.below(60), other_first = random.below(60);
    const PhysRange a = range(first, random.between(first, 60));
    const PhysRange b = range(other_first, random.between(other_first, 60));
    const std::uint64_t ours = bits_of(a), theirs = bits_of(b);
    ASSERT(a.overlaps(b) == ((ours & theirs) != 0));
    ASSERT(bits_of(a.intersect(b)) == (ours & theirs));
    ASSERT(a.contains(a.intersect(b)));
    const PhysRange::Parts left = a.subtract(b);
    ASSERT((bits_of(left.below) | bits_of(left.above)) == (ours & ~theirs));
    ASSERT((bits_of(left.below) & bits_of(left.above)) == 0);
    ASSERT((bits_of(a.hull(b)) & (ours | theirs)) == (ours | theirs));
  }
}

TEST(range, whole_frames_shrink_inwards) {
  EXPECT_EQ(whole_frames(range(0x1001, 0x4fff)), (FrameRange{FrameNumber{2}, FrameNumber{4}}));
  EXPECT_EQ(whole_frames(range(0x1000, 0x5000)), (FrameRange{FrameNumber{1}, FrameNumber{5}}));
  EXPECT(whole_frames(range(0x1001, 0x1fff)).empty());
  EXPECT(whole_frames(range(0x1fff, 0x2001)).empty());
  EXPECT(whole_frames(range(~0ull - 0x5000, ~0ull)).empty());  // beyond what a frame number reaches
  EXPECT_EQ(whole_frames(range(0xfff'ffff'e000, ~0ull)).end, kNoFrame);
  EXPECT_EQ(bytes_of(FrameRange{FrameNumber{1}, FrameNumber{3}}), range(0x1000, 0x3000));
  EXPECT_EQ((FrameRange{FrameNumber{1}, FrameNumber{3}}.frames()), 2u);
}
