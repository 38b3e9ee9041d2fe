// Red zones and poison, byte by byte: the same in every profile, for they are bytes and nothing else.
// SPDX-License-Identifier: MIT
#include "mm/heap/object_guard.hpp"

#include "mm/heap/large_guard.hpp"
#include "mm/heap/slab.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;
using object_guard::Place;

namespace {

struct Slot {
  alignas(16) std::uint8_t bytes[16 + 112 + 32 + 16] = {};
  Place place{.object = bytes + 16, .bytes = 112, .zone_end = 112 + 32};
};

}  // namespace

TEST(object_guard, every_byte_around_an_object_is_watched) {
  for (std::size_t requested = 1; requested <= 112; ++requested) {
    Slot slot;
    slot.place.lay_zones(requested);
    EXPECT(slot.place.damage_before() == nullptr && slot.place.damage_behind(requested) == nullptr);
    for (std::uint8_t* at = slot.bytes; at < slot.place.object + slot.place.zone_end; ++at) {
      const std::uint8_t kept = *at;
      *at = static_cast<std::uint8_t>(*at ^ 0x10);
      const bool before = at < slot.place.object;
      const bool behind = at >= slot.place.object + requested;
      EXPECT(slot.place.damage_before() == (before ? at : nullptr));
      EXPECT(slot.place.damage_behind(requested) == (behind ? at : nullptr));
      *at = kept;
    }
  }
}

TEST(object_guard, zones_leave_the_object_and_what_is_behind_them_alone) {
  Slot slot;
  slot.place.lay_zones(100);
  for (unsigned n = 0; n < 100; ++n) EXPECT_EQ(slot.place.object[n], 0u);
  for (unsigned n = 0; n < 16; ++n) EXPECT_EQ(slot.place.object[slot.place.zone_end + n], 0u);
}

TEST(object_guard, poison_shows_the_first_byte_that_was_written) {
  Slot slot;
  slot.place.poison();
  EXPECT(slot.place.damage_inside() == nullptr);
  slot.place.object[111] ^= 1;
  EXPECT(slot.place.damage_inside() == slot.place.object + 111);
  slot.place.object[3] ^= 1;
  EXPECT(slot.place.damage_inside() == slot.place.object + 3);
  EXPECT_EQ(slot.bytes[15], 0u);
}

TEST(object_guard, a_large_object_is_watched_behind_its_last_byte) {
  alignas(64) static std::uint8_t bytes[8192];
  const large_guard::Block block{.bytes = bytes, .size = sizeof bytes};
  for (const std::size_t requested : {std::size_t{5000}, sizeof bytes - large_guard::total(0)}) {
    block.lay(requested, {.site = 7});
    ASSERT(block.whole_trail() != nullptr);
    EXPECT(block.whole_trail()->track.requested == requested &&
           block.whole_trail()->track.allocated.site == 7);
    EXPECT(block.damage() == nullptr);
    for (const std::size_t at : {std::size_t{0}, large_guard::kLeastZone - 1}) {
      bytes[requested + at] ^= 4;
      EXPECT(block.damage() == bytes + requested + at);
      bytes[requested + at] ^= 4;
    }
    bytes[requested - 1] ^= 4;
    EXPECT(block.damage() == nullptr);
    EXPECT(block.knows_call());
    block.trail()->track.allocated.site ^= 4;
    EXPECT(!block.knows_call() && block.whole_trail() != nullptr && block.damage() == nullptr);
    block.trail()->track.requested ^= 4;
    EXPECT(block.whole_trail() == nullptr && block.damage() != nullptr);
  }
}

TEST(object_guard, a_profile_without_it_gives_it_no_byte) {
  const SlabCut cut = SlabCut::of(64, 64, SlabCut::Records::outside).take();
  EXPECT_EQ(cut.stride, config::debug_slab ? 128u : 64u);
  EXPECT_EQ(cut.first, config::debug_slab ? 64u : 0u);
  EXPECT_EQ(slab_record_bytes(64), 64u + 64 + 8 + (config::debug_slab ? 64 * sizeof(ObjectTrack) : 0));
}
