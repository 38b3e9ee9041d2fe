// Slab: a block of frames cut into equal objects, and the record of it, which lies outside the objects.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "mm/base/config.hpp"
#include "mm/base/list.hpp"
#include "mm/base/result.hpp"
#include "mm/base/types.hpp"
#include "mm/heap/object_track.hpp"
#include "mm/physical/frames.hpp"

namespace memory {

class KmemCache;

// What an object's byte in its slab's record says. Every object has one, wherever it is.
enum class ObjectState : std::uint8_t {
  free = 0,         // in its slab
  cached = 1,       // out of its slab, in a magazine
  allocated = 2,    // out of its slab, the caller's
  quarantined = 3,  // released, and not to be had again soon (config::quarantine_kib)
};
inline bool object_is(std::uint8_t state, ObjectState what) {
  return state == static_cast<std::uint8_t>(what);
}
inline void set_object(std::uint8_t& state, ObjectState what) { state = static_cast<std::uint8_t>(what); }

// How a cache cuts its slabs. `inverse` and `shift` find an object's index without a division: see slab.cpp.
struct SlabCut {
  std::uint32_t stride = 0;       // bytes from one object to the next
  std::uint32_t objects = 0;      // in a slab
  std::uint32_t first = 0;        // bytes before the first object of colour 0
  std::uint32_t colours = 1;      // different places for the first object
  std::uint32_t colour_step = 0;  // bytes between two of them
  std::uint8_t order = 0;         // of the block of frames
  std::uint8_t shift = 0;
  std::uint64_t inverse = 0;

  // With tracks half as many, or a record would fit no slab; and with zones around them no more fit into one anyway.
  static constexpr std::uint32_t kMaxObjects = config::debug_slab ? 256 : 512;
  static constexpr std::uint8_t kMaxOrder = 3;
  static constexpr std::uint32_t kMinStride = 8;
  static constexpr std::uint32_t kMaxBytes = kPageSize << kMaxOrder;

  // Where the record of a slab lies.
  enum class Records : std::uint8_t {
    outside,  // in an object of a cache of records
    inside,   // in the slab's first bytes: for the slabs of those caches
  };

  // With config::debug_slab, red zones around each object unless the record lies inside: see object_guard.hpp.
  // Precondition: 0 < object_bytes <= kMaxBytes, align a power of two from kMinStride to kPageSize. Fails with too_big
  // when not one object fits.
  static Result<SlabCut> of(std::uint32_t object_bytes, std::uint32_t align, Records records);
};

// Bytes that the record of a slab of `objects` objects takes.
constexpr std::size_t slab_record_bytes(std::uint32_t objects,
                                        SlabCut::Records records = SlabCut::Records::outside);

// Standard layout. Its states and its bits of free objects lie right behind it, then the objects' tracks, if it has them. Legend: [I] immutable while the slab
// exists; [c] its cache's lock; [a] atomic.
struct Slab {
  ListNode node;          // [c] on the list of its cache that fits `taken`
  KmemCache* cache;       // [I]
  std::byte* first;       // [I] the first object
  std::uint64_t inverse;  // [I] as SlabCut
  std::uint64_t objects;  // [I]
  Frame* head;            // [I] the first frame
  std::uint16_t taken;    // [c] objects that are out of it: cached or allocated
  std::uint8_t shift;     // [I]
  std::uint8_t number;    // [I] the cache's
  std::uint32_t unused;

  // Each object's ObjectState. Written by whoever holds the object: its caller, its magazine's holder, or under the
  // cache's lock. Each got it from the last by what ordered everything else about the object, so it needs no atomic.
  std::uint8_t* states() { return reinterpret_cast<std::uint8_t*>(this + 1); }
  const std::uint8_t* states() const { return reinterpret_cast<const std::uint8_t*>(this + 1); }
  // [c] a bit for each object, set where it is free.
  std::span<std::uint64_t> free_bits() {
    const auto count = static_cast<std::uint32_t>(objects);
    return {reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::byte*>(this + 1) + states_bytes(count)),
            words_for(count)};
  }
  std::span<const std::uint64_t> free_bits() const { return const_cast<Slab*>(this)->free_bits(); }

  // Whether it is a slot of the guard pool (guard_pool.hpp): a slab of one object, which never meets a magazine.
  bool in_guard_pool() const {
    return head->tag.load(std::memory_order_relaxed) == static_cast<std::uint8_t>(FrameTag::guard_pool);
  }

  // Precondition: config::debug_slab and the record lies outside, or in_guard_pool(). Each object's; written by whoever
  // holds the object.
  ObjectTrack& track(std::uint64_t index) {
    return reinterpret_cast<ObjectTrack*>(free_bits().data() + free_bits().size())[index];
  }
  const ObjectTrack& track(std::uint64_t index) const { return const_cast<Slab*>(this)->track(index); }

  // The index of the object that begins at `address`; `objects` or more where none does.
  std::uint64_t index_of(std::uint64_t address) const {
    const std::uint64_t product = (address - reinterpret_cast<std::uint64_t>(first)) * inverse;
    return product >> shift | product << (64 - shift) % 64;
  }

  static constexpr std::size_t states_bytes(std::uint32_t objects) {
    return std::size_t{objects + 7} / 8 * 8;
  }
  static constexpr std::size_t words_for(std::uint32_t objects) { return (objects + 63) / 64; }
};
static_assert(sizeof(Slab) == 64 && std::is_standard_layout_v<Slab>);

constexpr std::size_t slab_record_bytes(std::uint32_t objects, SlabCut::Records records) {
  const bool tracked = config::debug_slab && records == SlabCut::Records::outside;
  return sizeof(Slab) + Slab::states_bytes(objects) + Slab::words_for(objects) * 8 +
         (tracked ? objects * sizeof(ObjectTrack) : 0);
}

}  // namespace memory
