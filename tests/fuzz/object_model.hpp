// What kmalloc_fuzz.cpp holds against the floor of objects: what is live and what it holds, how much a request gets, and what
// the release of any address is.
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "mm/who.hpp"
#include "tests/fuzz/must.hpp"

namespace object_model {

using namespace memory;

static_assert(!kGuardedHeap, "the model is that of a profile without guards");

// What a constructor leaves at an object's start, and its owner does not touch.
inline constexpr std::uint64_t kMade = 0x6d61'6465'6d61'6465;

// An object that somebody has. Whoever has it filled the whole of it.
struct Live {
  unsigned char* at;
  std::size_t bytes;         // that were asked for last
  std::size_t room;          // that may be used
  KmemCache* cache;          // that create() made; null: it is kmalloc's
  bool low = false;          // of a class below 16 MiB
  bool guarded = false;      // in the guard pool
  bool constructed = false;  // begins with kMade
  unsigned char pattern = 0;

  std::size_t first() const { return constructed ? sizeof kMade : 0; }
  void fill() const { std::memset(at + first(), pattern, room - first()); }
  void intact(std::size_t end) const {
    if (constructed) MUST(std::memcmp(at, &kMade, sizeof kMade) == 0);
    if (end <= first()) return;
    MUST(at[first()] == pattern);
    MUST(std::memcmp(at + first(), at + first() + 1, end - first() - 1) == 0);
  }
  void intact() const { intact(room); }
};

// Bytes that kmalloc gives for so many, outside the guard pool.
inline std::size_t room_for(std::size_t bytes, bool low) {
  if (bytes > kMaxClassBytes || low) return std::max<std::size_t>(std::bit_ceil(bytes), 8);
  return *std::ranges::find_if(kSizeClasses, [bytes](std::size_t room) { return room >= bytes; });
}

// What kmalloc promises of an address.
inline std::size_t align_for(std::size_t bytes) {
  if (std::has_single_bit(bytes)) return std::max<std::size_t>(bytes, 8);
  return bytes < 16 ? 8 : 16;
}

// What kmalloc says to a request before it looks for memory.
inline Error refusal_of(std::size_t bytes, Gfp flags) {
  if (has(flags, Gfp::highmem)) return Error::invalid;
  return bytes > Kmalloc::kMaxBytes ? Error::too_big : Error::ok;
}

inline bool is_kmallocs(const KmemCache& cache) {
  return cache.name().starts_with("kmalloc-") || cache.name().starts_with("dma-kmalloc-");
}

class Model {
 public:
  std::vector<Live> live;

  std::size_t count_of(const KmemCache* cache) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(live, [cache](const Live& one) { return one.cache == cache; }));
  }
  Live take(std::size_t slot) {
    const Live one = live[slot];
    live[slot] = live.back();
    live.pop_back();
    return one;
  }

  // What `receiver`, null for kmalloc, must say to that address. An object that is somebody's is known here; what the rest of
  // memory is, is read from outside the allocator.
  Error verdict(const MemoryManager& manager, const KmemCache* receiver, const void* address) const {
    for (const Live& one : live) {
      if (address < one.at || address >= one.at + one.room) continue;
      if (address != one.at) return Error::interior_object;
      return receiver == one.cache ? Error::ok : Error::wrong_cache;
    }
    const std::byte* const direct = manager.physical().frames().map().direct_map;
    const auto at = reinterpret_cast<std::uint64_t>(address) - reinterpret_cast<std::uint64_t>(direct);
    const AddressOwner owner = owner_of(manager, PhysAddr{at});
    switch (owner.use) {
      case FrameUse::free:
      case FrameUse::magazine: return Error::double_free;
      case FrameUse::slab: return of_slab(owner, receiver);
      case FrameUse::guard_pool: return of_guards(owner, receiver, address);
      case FrameUse::none:
      case FrameUse::reserved:
      case FrameUse::frames: return Error::wild_object;
      default: break;
    }
    MUST(owner.use == FrameUse::none);  // a large object that is not live, or what the floor never has
    std::abort();
  }

 private:
  static Error of_object(const AddressOwner& owner, const KmemCache* receiver) {
    MUST(!owner.cache->watched() ||
         !object_is(owner.slab->states()[owner.index], ObjectState::allocated));  // else it were live
    const bool own = receiver != nullptr ? owner.cache == receiver : is_kmallocs(*owner.cache);
    return own ? Error::double_free : Error::wrong_cache;
  }
  static Error of_slab(const AddressOwner& owner, const KmemCache* receiver) {
    if (owner.index >= owner.slab->objects) return Error::wild_object;
    return owner.offset != 0 ? Error::interior_object : of_object(owner, receiver);
  }
  static Error of_guards(const AddressOwner& owner, const KmemCache* receiver, const void* address) {
    if (owner.slab == nullptr) return Error::wild_object;
    const std::uint64_t offset =
        reinterpret_cast<std::uint64_t>(address) - reinterpret_cast<std::uint64_t>(owner.slab->first);
    if (offset == 0) return of_object(owner, receiver);
    return offset < owner.cache->cut().stride ? Error::interior_object : Error::wild_object;
  }
};

}  // namespace object_model
