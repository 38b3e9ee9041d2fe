// KmemCache: what the guarded profile does at each allocation and release, and where it finds what was damaged.
// SPDX-License-Identifier: MIT
//
// Theory. A release proves that nobody wrote around the object while it was somebody's; the next allocation proves that
// nobody wrote into it while it was nobody's. A damaged object that is released is refused, for its owner is to blame and is
// named by its track; damage to a free object is told to the witness (the memory manager), and mended if the policy lets
// the machine go on, because whoever allocates now did nothing wrong.
//
// Invariants, while the profile has debug_slab:
//   G1  the zones of an allocated object begin at the byte behind what was requested, those of a free one at its end
//   G2  a free object without a constructor holds poison
//   G3  a track lies in its slab's record, out of reach of what runs over an object's end
#include <cstring>

#include "mm/heap/heap.hpp"
#include "mm/heap/kmem_cache.hpp"

namespace memory {

object_guard::Place KmemCache::place_of(const Slab& slab, std::uint64_t index) {
  const CacheRecord& record = slab.cache->record_;
  return {.object = reinterpret_cast<std::uint8_t*>(slab.first) + index * record.cut.stride,
          .bytes = record.object_bytes,
          .zone_end = record.cut.stride - object_guard::kBefore};
}

const ObjectTrack* KmemCache::track_of(const Slab& slab, std::uint64_t address) {
  if (slab.in_guard_pool()) return &slab.track(0);
  if constexpr (!config::debug_slab) return nullptr;
  const std::uint64_t index =
      (address + object_guard::kBefore - reinterpret_cast<std::uint64_t>(slab.first)) /
      slab.cache->cut().stride;
  return slab.cache->watched() && index < slab.objects ? &slab.track(index) : nullptr;
}

const std::uint8_t* KmemCache::damage_at(const Slab& slab, std::uint64_t address) {
  if (slab.in_guard_pool())
    return object_is(slab.states()[0], ObjectState::allocated) ? GuardPool::damage_of(slab) : nullptr;
  if constexpr (!config::debug_slab) return nullptr;
  const std::uint64_t index = slab.index_of(address);
  if (!slab.cache->watched() || index >= slab.objects) return nullptr;
  const object_guard::Place place = place_of(slab, index);
  if (!object_is(slab.states()[index], ObjectState::allocated)) return slab.cache->damage_of_free(place);
  const std::uint8_t* const wrong = place.damage_before();
  return wrong != nullptr ? wrong : place.damage_behind(slab.track(index).requested);
}

// The first byte in or around a free object that somebody wrote to; null where there is none (G1, G2).
const std::uint8_t* KmemCache::damage_of_free(const object_guard::Place& place) const {
  const std::uint8_t* wrong = place.damage_before();
  if (wrong == nullptr && construct_ == nullptr) wrong = place.damage_inside();
  return wrong != nullptr ? wrong : place.damage_behind(place.bytes);
}

// An object of this cache, found by its address.
struct KmemCache::Watched {
  Slab& slab;
  std::uint64_t index;
  object_guard::Place place;

  ObjectTrack& track() const { return slab.track(index); }
};

KmemCache::Watched KmemCache::watched_at(const void* object) const {
  Slab& slab = *slab_at(object);
  const std::uint64_t index = slab.index_of(reinterpret_cast<std::uint64_t>(object));
  return {slab, index, place_of(slab, index)};
}

ObjectTrack& KmemCache::track_at(const void* object) const { return watched_at(object).track(); }

void KmemCache::guard_new(Slab& slab) {
  for (std::uint64_t index = 0; index < slab.objects; ++index) {
    [[maybe_unused]] const object_guard::Place place = place_of(slab, index);
    if constexpr (config::debug_slab) {
      slab.track(index) = {};
      place.lay_zones(place.bytes);
      if (construct_ == nullptr) place.poison();
    } else if constexpr (config::init_on_free) {
      if (construct_ == nullptr) std::memset(place.object, 0, place.bytes);
    }
  }
}

// What somebody did to an object while it was nobody's; `site`: who came upon it. No damage: nothing to tell.
void KmemCache::tell_damage(void* object, const std::uint8_t* wrong, std::uint64_t site) {
  if (wrong == nullptr || heap_.witness() == nullptr) return;
  MisuseReport report = report_on_object(heap_, Error::use_after_free, object);
  report.address = reinterpret_cast<std::uint64_t>(wrong);
  heap_.witness()->tell(report, site);
}

Result<void*> KmemCache::allocate_watched(Gfp flags, std::size_t requested, std::uint64_t site) {
  void* const object = TRY(take(flags));
  if (!watched()) return object;
  if constexpr (config::debug_slab) {
    const Watched found = watched_at(object);
    tell_damage(object, damage_of_free(found.place), site);
    found.track() = {.allocated = HeapCall::from(site), .freed = {}, .requested = requested};
    found.place.lay_zones(requested);
    if constexpr (config::debug_kmemleak) heap_.trace(found.track());
  }
  if constexpr (config::init_on_alloc)
    if (construct_ == nullptr) std::memset(object, 0, requested);
  return object;
}

// Ok, or what was done to an allocated object of that slab.
Error KmemCache::inspect(const void* object, const Slab& slab) const {
  if (slab.in_guard_pool()) return GuardPool::misuse_of(slab);
  if (!config::debug_slab || !watched()) return Error::ok;
  const Watched found = watched_at(object);
  if (found.place.damage_before() != nullptr) return Error::underflow;
  return found.place.damage_behind(found.track().requested) != nullptr ? Error::overflow : Error::ok;
}

// An object is nobody's from now on.
void KmemCache::bury(void* object, std::uint64_t site) {
  [[maybe_unused]] const Watched found = watched_at(object);
  if constexpr (config::debug_slab) {
    found.track().freed = HeapCall::from(site);
    found.place.lay_zones(found.place.bytes);
    if (construct_ == nullptr) found.place.poison();
  } else if constexpr (config::init_on_free) {
    if (construct_ == nullptr) std::memset(object, 0, found.place.bytes);
  }
}

Result<void> KmemCache::release_watched(void* object, std::uint64_t site) {
  if (!watched()) return give(object);
  Slab* slab = nullptr;
  std::uint64_t index = 0;
  if (const Error error = judge(object, slab, index); error != Error::ok) return error;
  if (const Error error = inspect(object, *slab); error != Error::ok) return error;
  bury(object, site);
  if constexpr (kQuarantines) {
    confine(object, slab->states()[index], site);
  } else {
    put(object, slab->states()[index]);
  }
  return {};
}

// The object's owner has another number of bytes from now on.
void KmemCache::resize_watched(void* object, std::size_t requested) {
  const Watched found = watched_at(object);
  found.track().requested = requested;
  found.place.lay_zones(requested);
}

[[gnu::noinline]] Result<void*> KmemCache::allocate_guarded(Gfp flags) {
  return allocate_watched(flags, record_.object_bytes,
                          reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
}

[[gnu::noinline]] Result<void> KmemCache::release_guarded(void* object) {
  return release_watched(object, reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
}

}  // namespace memory
