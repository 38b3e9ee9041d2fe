// for_each_object: every object that callers have of the floor of objects, by address, out of the Frames.
// SPDX-License-Identifier: MIT
#pragma once
#include <string_view>

#include "mm/heap/heap.hpp"
#include "mm/heap/large_guard.hpp"

namespace memory {

// An allocated object of a cache, or a large one of kmalloc.
struct HeapObject {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;  // asked for, or where the profile does not record that, what serves it
  Keeper keeper = Keeper::cache;
  std::string_view name;          // the cache's, or "kmalloc"
  ObjectTrack* track = nullptr;   // where the profile keeps one
  std::uint8_t* state = nullptr;  // of a cache's
  Frame* head = nullptr;          // the first of the block that it lies in
};

namespace heap_walk {

// What a byte of state says besides what it says always: marks that a walk has put there.
inline constexpr std::uint8_t kMarks = 0xc0;

inline unsigned tag_of(const Frame& frame) { return frame.tag.load(std::memory_order_relaxed); }
inline bool is_slab(unsigned tag) { return tag != 0 && tag < kCacheSlots; }
inline bool is_guard_pool(unsigned tag) { return tag == static_cast<unsigned>(FrameTag::guard_pool); }
inline bool is_large(unsigned tag) { return tag == static_cast<unsigned>(FrameTag::large_object); }
inline Slab& slab_of(const Frame& frame) {
  return *reinterpret_cast<Slab*>(frame.owner.load(std::memory_order_relaxed));
}
// Where the bytes of a directly mapped frame are.
inline std::uint64_t address_of(const FrameTable& frames, FrameNumber number) {
  return reinterpret_cast<std::uint64_t>(frames.map().direct_map) + memory::address_of(number).value;
}

// body(FrameNumber) for the first frame of each allocated block that the direct map holds, and each page of the guard pool.
template <typename Body>
void for_each_block(const FrameTable& frames, Body&& body) {
  for (std::uint32_t block = 0; block < frames.block_limit(); ++block) {
    if (!frames.block_present(block)) continue;
    const std::uint32_t first = block * FrameMap::kFramesPerBlock;
    for (std::uint32_t number = first; number < first + FrameMap::kFramesPerBlock; ++number) {
      const Frame& frame = frames[FrameNumber{number}];
      const bool guards = is_guard_pool(tag_of(frame)) && frame.state() == FrameState::reserved;
      if ((frame.state() == FrameState::allocated || guards) && frames.in_direct_map(FrameNumber{number}))
        body(FrameNumber{number});
    }
  }
}

template <typename Body>
void for_each_of_slab(Slab& slab, Body&& body) {
  const KmemCache& cache = *slab.cache;
  if (!cache.watched()) return;
  for (std::uint64_t index = 0; index < slab.objects; ++index) {
    std::uint8_t& state = slab.states()[index];
    if (!object_is(static_cast<std::uint8_t>(state & ~kMarks), ObjectState::allocated)) continue;
    body(HeapObject{.address = reinterpret_cast<std::uint64_t>(slab.first) + index * cache.cut().stride,
                    .bytes = cache.asked_for(slab, index),
                    .keeper = Keeper::cache,
                    .name = cache.name(),
                    .track = config::debug_slab || slab.in_guard_pool() ? &slab.track(index) : nullptr,
                    .state = &state,
                    .head = slab.head});
  }
}

inline HeapObject large_at(const FrameTable& frames, FrameNumber number) {
  Frame& head = frames[number];
  HeapObject object{.address = address_of(frames, number),
                    .bytes = bytes_in(head.order()),
                    .keeper = Keeper::large,
                    .name = "kmalloc",
                    .head = &head};
  if constexpr (config::debug_slab) {
    const large_guard::Block block{.bytes = reinterpret_cast<std::uint8_t*>(object.address),
                                   .size = object.bytes};
    if (block.whole_trail() != nullptr) {
      object.track = &block.trail()->track;
      object.bytes = object.track->requested;
    }
  }
  return object;
}

}  // namespace heap_walk

// Calls body(const HeapObject&) for each that somebody has, but for those of the caches that caches need themselves.
// Precondition: nobody allocates or releases. O(memory).
template <typename Body>
void for_each_object(const FrameTable& frames, Body&& body) {
  heap_walk::for_each_block(frames, [&](FrameNumber number) {
    const Frame& frame = frames[number];
    const unsigned tag = heap_walk::tag_of(frame);
    const bool guarded = heap_walk::is_guard_pool(tag) && frame.owner.load(std::memory_order_relaxed) != 0;
    if (heap_walk::is_slab(tag) || guarded)
      heap_walk::for_each_of_slab(heap_walk::slab_of(frames[number]), body);
    if (heap_walk::is_large(tag)) body(heap_walk::large_at(frames, number));
  });
}

}  // namespace memory
