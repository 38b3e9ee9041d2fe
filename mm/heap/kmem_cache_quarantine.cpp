// KmemCache: what is released waits, so that a use of it is seen before it is somebody else's. See kmem_cache_guard.cpp.
// SPDX-License-Identifier: MIT
//
// Theory. A magazine hands out first what was released last, so a stale pointer soon shows another owner's object, and a
// write through it is nobody's damage any more. With a quarantine an object stays poisoned until objects of
// config::quarantine_kib were released after it; whoever makes it leave proves that nobody wrote to it meanwhile.
//
// Invariant, with quarantine_kib:
//   G4  the objects in the chain are those whose state is `quarantined`, and of this cache
#include <algorithm>

#include "mm/heap/heap.hpp"
#include "mm/heap/kmem_cache.hpp"

namespace memory {

namespace {

std::uint64_t address_of(const void* object) { return reinterpret_cast<std::uint64_t>(object); }

// The oldest, which belongs to nobody any more but to the caller, or null.
template <typename TrackOf>
void* take_oldest(Quarantine& waiting, TrackOf&& track_of) {
  if (waiting.objects == 0) return nullptr;
  auto* const oldest = reinterpret_cast<void*>(waiting.first);
  waiting.first = track_of(oldest).next;
  if (--waiting.objects == 0) waiting.last = 0;
  track_of(oldest).next = 0;
  return oldest;
}

}  // namespace

// An object that was buried begins to wait, and makes the oldest leave where there are enough.
void KmemCache::confine(void* object, std::uint8_t& state, std::uint64_t site) {
  set_object(state, ObjectState::quarantined);
  const std::uint64_t most = std::max<std::uint64_t>(config::quarantine_kib * 1024 / record_.cut.stride, 1);
  const auto track_of = [this](const void* one) -> ObjectTrack& { return track_at(one); };
  void* oldest = nullptr;
  quarantine_.with([&](Quarantine& waiting) {
    (waiting.objects == 0 ? waiting.first : track_of(reinterpret_cast<void*>(waiting.last)).next) =
        address_of(object);
    waiting.last = address_of(object);
    if (++waiting.objects > most) oldest = take_oldest(waiting, track_of);
  });
  if (oldest != nullptr) let_out(oldest, site);
}

// What nobody may have written to goes on to a magazine, as sound as it was.
void KmemCache::let_out(void* object, std::uint64_t site) {
  Slab& slab = *slab_at(object);
  std::uint8_t& state = slab.states()[slab.index_of(address_of(object))];
  CHECK(object_is(state, ObjectState::quarantined));  // G4
  const object_guard::Place place = place_of(slab, slab.index_of(address_of(object)));
  if (const std::uint8_t* const wrong = damage_of_free(place); wrong != nullptr) {
    tell_damage(object, wrong, site);
    place.lay_zones(place.bytes);
    if (construct_ == nullptr) place.poison();
  }
  put(object, state);
}

void KmemCache::empty_quarantine() {
  if constexpr (!kQuarantines) return;
  const auto site = address_of(__builtin_return_address(0));
  const auto track_of = [this](const void* one) -> ObjectTrack& { return track_at(one); };
  for (;;) {
    void* oldest = nullptr;
    quarantine_.with([&](Quarantine& waiting) { oldest = take_oldest(waiting, track_of); });
    if (oldest == nullptr) return;
    let_out(oldest, site);
  }
}

// G4: as many in the chain as there are states, each of them once, because each has one successor.
bool KmemCache::quarantine_valid(std::uint64_t quarantined) const {
  return quarantine_.with([&](const Quarantine& waiting) {
    if (waiting.objects != quarantined || (waiting.objects == 0 && waiting.first != 0)) return false;
    std::uint64_t at = waiting.first;
    for (std::uint64_t met = 0; met < waiting.objects; ++met) {
      const auto* const object = reinterpret_cast<const void*>(at);
      const Slab* const slab = slab_at(object);
      if (slab == nullptr || slab->cache != this) return false;
      const std::uint64_t index = slab->index_of(at);
      if (index >= slab->objects || !object_is(slab->states()[index], ObjectState::quarantined)) return false;
      const bool is_last = met + 1 == waiting.objects;
      if (is_last != (at == waiting.last)) return false;
      at = track_at(object).next;
    }
    return at == 0;
  });
}

}  // namespace memory
