// LargeGuard: the red zone and the track of an object that is a block of frames.
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <new>

#include "mm/heap/object_guard.hpp"
#include "mm/heap/object_track.hpp"

namespace memory::large_guard {

// A block has no record besides its first Frame, so what is known of its object ends the block, with words that tell
// whether it is still whole: an overrun meets the call first, and where only that is lost the size still says where it
// began. In front of a block there is somebody else's: no zone.
//
//   | requested bytes | redzone, kZone of which are looked at | ... | Trail |
struct Trail {
  ObjectTrack track;
  std::uint32_t size_check = 0;
  std::uint32_t call_check = 0;
};
inline constexpr std::size_t kZone = 64;
inline constexpr std::size_t kLeastZone = 16;
inline constexpr std::uint64_t kCheck = 0x6c61'7267'6521'7a6f;
static_assert(sizeof(Trail) == sizeof(ObjectTrack) + 8);

// Bytes of the block for an object, less than which it has no guard.
constexpr std::size_t total(std::size_t requested) { return requested + kLeastZone + sizeof(Trail); }

struct Block {
  std::uint8_t* bytes;
  std::size_t size;

  Trail* trail() const { return reinterpret_cast<Trail*>(bytes + size - sizeof(Trail)); }
  std::uint32_t check_of(std::uint64_t word) const {
    const std::uint64_t mixed = reinterpret_cast<std::uint64_t>(bytes) ^ word ^ kCheck;
    return static_cast<std::uint32_t>(mixed ^ mixed >> 32);
  }
  // Null when its size was written to, or when there never was one.
  const Trail* whole_trail() const {
    const Trail* const found = trail();
    const std::size_t requested = found->track.requested;
    return requested <= size && total(requested) <= size && found->size_check == check_of(requested)
               ? found
               : nullptr;
  }
  // Whether nobody wrote to the site of the call that allocated the object. Precondition: whole_trail().
  bool knows_call() const { return trail()->call_check == check_of(trail()->track.allocated.site); }
  const std::uint8_t* zone_end(std::size_t requested) const {
    return std::min<const std::uint8_t*>(bytes + requested + kZone, bytes + size - sizeof(Trail));
  }

  // Precondition: total(requested) <= size.
  void lay(std::size_t requested, const HeapCall& allocated) const {
    const ObjectTrack track{.allocated = allocated, .freed = {}, .requested = requested};
    new (trail())
        Trail{.track = track, .size_check = check_of(requested), .call_check = check_of(allocated.site)};
    const auto length = static_cast<std::size_t>(zone_end(requested) - (bytes + requested));
    std::memset(bytes + requested, object_guard::kZoneByte, length);
  }
  // The object has another number of bytes from now on; what else is known of it stays. Precondition: whole_trail().
  void resize(std::size_t requested) const {
    ObjectTrack kept = trail()->track;
    kept.requested = requested;
    lay(requested, kept.allocated);
    trail()->track = kept;
  }
  // The first wrong byte behind the object, of what is looked at; null where all is right.
  const std::uint8_t* damage() const {
    const Trail* const known = whole_trail();
    if (known == nullptr) return reinterpret_cast<const std::uint8_t*>(trail());
    const std::uint8_t* const end = zone_end(known->track.requested);
    const std::uint8_t* const found =
        object_guard::first_other(bytes + known->track.requested, end, object_guard::kZoneByte);
    return found == end ? nullptr : found;
  }
};

}  // namespace memory::large_guard
