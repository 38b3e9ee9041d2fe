// ObjectGuard: red zones around an object, and poison in one that is free. Bytes only: who reports what is found, and to
// whom, is kmem_cache_guard.cpp's.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "mm/base/config.hpp"
#include "mm/base/platform.hpp"

namespace memory {

// Whether the heap's fast paths do more than hand out objects. All that follows from it is compiled out where it is false.
inline constexpr bool kGuardedHeap = config::debug_slab || config::init_on_alloc || config::init_on_free;

// Whether released objects wait. Their chain needs a track.
inline constexpr bool kQuarantines = config::quarantine_kib != 0;
static_assert(!kQuarantines || config::debug_slab, "quarantine_kib needs debug_slab=true");

namespace object_guard {

// A slot with zones. The zone behind begins at the very byte that was not asked for:
//
//   | kBefore | object: requested bytes | rest of the object | kBehind and what alignment adds |  next slot's kBefore
//   | redzone |                         | redzone ---------------------------------------------|
//
// A free object is poisoned whole, and the zone behind begins at its end.
inline constexpr std::uint32_t kZoneBytes = 16;
inline constexpr std::uint32_t kBefore = config::debug_slab ? kZoneBytes : 0;
inline constexpr std::uint32_t kBehind = kBefore;

inline constexpr auto kZoneByte = static_cast<std::uint8_t>(platform::Poison::redzone);
inline constexpr auto kFreeByte = static_cast<std::uint8_t>(platform::Poison::free_object);

// The first byte of [first, end) that is not `byte`; `end` when there is none. By words where it can.
inline const std::uint8_t* first_other(const std::uint8_t* first, const std::uint8_t* end,
                                       std::uint8_t byte) {
  const std::uint64_t pattern = std::uint64_t{0x0101'0101'0101'0101} * byte;
  for (std::uint64_t word = 0; end - first >= 8; first += 8) {
    std::memcpy(&word, first, sizeof word);
    if (word != pattern) break;
  }
  while (first < end && *first == byte) ++first;
  return first;
}

// One object's place: `bytes` may be used at most, and from `object` - kBefore to `zone_end` nobody else has anything.
struct Place {
  std::uint8_t* object;
  std::size_t bytes;
  std::size_t zone_end;  // counted from the object

  std::uint8_t* before() const { return object - kZoneBytes; }

  // Lays both zones; `requested` bytes are the caller's.
  void lay_zones(std::size_t requested) const {
    std::memset(before(), kZoneByte, kZoneBytes);
    std::memset(object + requested, kZoneByte, zone_end - requested);
  }
  void poison() const { std::memset(object, kFreeByte, bytes); }

  // The first wrong byte before the object, from `requested` on, or in the poison; null where all is right.
  const std::uint8_t* damage_before() const {
    const std::uint8_t* const found = first_other(before(), object, kZoneByte);
    return found == object ? nullptr : found;
  }
  const std::uint8_t* damage_behind(std::size_t requested) const {
    const std::uint8_t* const found = first_other(object + requested, object + zone_end, kZoneByte);
    return found == object + zone_end ? nullptr : found;
  }
  const std::uint8_t* damage_inside() const {
    const std::uint8_t* const found = first_other(object, object + bytes, kFreeByte);
    return found == object + bytes ? nullptr : found;
  }
};

}  // namespace object_guard

}  // namespace memory
