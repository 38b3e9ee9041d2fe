// How slabs are cut, and that an address is an object's start or not.
// SPDX-License-Identifier: MIT
#include "mm/heap/slab.hpp"
#include "mm/base/random.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;

TEST(slab, every_size_is_cut_into_what_fits) {
  for (std::uint32_t bytes = 1; bytes <= SlabCut::kMaxBytes; bytes += bytes < 600 ? 1 : 509) {
    for (std::uint32_t align = 8; align <= kPageSize; align *= 8) {
      for (const auto records : {SlabCut::Records::outside, SlabCut::Records::inside}) {
        const auto made = SlabCut::of(bytes, align, records);
        if (!made.ok()) {
          EXPECT_EQ(made.error(), Error::too_big);
          EXPECT(records == SlabCut::Records::inside && bytes > SlabCut::kMaxBytes / 2);
          continue;
        }
        const SlabCut cut = made.take();
        const std::uint32_t room = static_cast<std::uint32_t>(kPageSize << cut.order);
        EXPECT(cut.stride >= bytes && cut.stride % align == 0 && cut.stride < bytes + align + 8);
        EXPECT(cut.objects >= 1 && cut.objects <= SlabCut::kMaxObjects);
        EXPECT(cut.first % align == 0 && cut.colour_step % align == 0);
        EXPECT(cut.first + (cut.colours - 1) * cut.colour_step + cut.objects * cut.stride <= room);
        if (records == SlabCut::Records::inside) EXPECT(cut.first >= slab_record_bytes(cut.objects));
      }
    }
  }
}

TEST(slab, small_objects_waste_little) {
  for (std::uint32_t bytes = 8; bytes <= 4096; bytes += 8) {
    const SlabCut cut = SlabCut::of(bytes, 8, SlabCut::Records::outside).take();
    const std::uint32_t room = static_cast<std::uint32_t>(kPageSize << cut.order);
    EXPECT((room - cut.objects * cut.stride) * 7 <= room);
  }
  EXPECT_EQ(SlabCut::of(64, 8, SlabCut::Records::outside).take().objects, 64u);
  EXPECT_EQ(SlabCut::of(64, 8, SlabCut::Records::outside).take().order, 0);
}

// All addresses around a slab, for strides of every kind: powers of two, odd multiples of 8, large ones.
TEST(slab, an_index_is_found_for_starts_of_objects_only) {
  static std::byte frame[kPageSize];
  for (const std::uint32_t stride :
       {8u, 16u, 24u, 40u, 56u, 64u, 96u, 136u, 192u, 1000u, 1024u, 2040u, 4096u}) {
    const SlabCut cut = SlabCut::of(stride, 8, SlabCut::Records::outside).take();
    ASSERT(cut.stride == stride);
    Slab slab{};
    slab.first = frame;
    slab.inverse = cut.inverse;
    slab.shift = cut.shift;
    const auto first = reinterpret_cast<std::uint64_t>(frame);
    for (std::uint64_t offset = 0; offset < 3 * kPageSize; ++offset) {
      const std::uint64_t index = slab.index_of(first + offset);
      if (offset % stride == 0) {
        EXPECT_EQ(index, offset / stride);
      } else {
        EXPECT(index >= SlabCut::kMaxObjects);
      }
      if (offset > 0) EXPECT(slab.index_of(first - offset) >= SlabCut::kMaxObjects);
    }
  }
}

TEST(slab, no_address_far_away_has_an_index) {
  Slab slab{};
  Random random{unit::seed()};
  for (unsigned n = 0; n < 20000; ++n) {
    const auto stride = static_cast<std::uint32_t>(8 + 8 * random.below(1024));
    const SlabCut cut = SlabCut::of(stride, 8, SlabCut::Records::outside).take();
    slab.inverse = cut.inverse;
    slab.shift = cut.shift;
    const std::uint64_t offset = random.next();
    const std::uint64_t index = slab.index_of(reinterpret_cast<std::uint64_t>(slab.first) + offset);
    EXPECT_EQ(index < SlabCut::kMaxObjects, offset % stride == 0 && offset / stride < SlabCut::kMaxObjects);
  }
}
