// SPDX-License-Identifier: MIT
//
// A slot's object is a slab of its own with one object in it, so whatever asks whose an address is finds it as it finds any
// object: through the Frame, to the slab, to the cache. Its frame has a tag that is no cache's number, so a release leaves
// the fast path by itself.
//
//   | records | guard | page of slot 0 | guard | page of slot 1 | guard | ... | guard |
//
//   free ──take()──> allocated ──give()──> free, behind all other free ones
//
// Invariants, proved by valid():
//   E1  a slot is on the list of free ones just when its state is `free` and nothing of it is taken
//   E2  the frame of a slot that was ever used names the slot as its owner, or nobody once its cache is gone
#include "mm/heap/guard_pool.hpp"

#include <algorithm>
#include <new>

#include "mm/heap/kmem_cache.hpp"
#include "mm/physical/physical.hpp"

namespace memory {

namespace {

constexpr auto kPoolTag = static_cast<std::uint8_t>(FrameTag::guard_pool);
constexpr Order kOnePage{0};

// What is nobody's around an object, in its page: [before, object) and [behind, end).
struct Zones {
  std::uint8_t* before;
  std::uint8_t* object;
  std::uint8_t* behind;
  std::uint8_t* end;

  explicit Zones(const Slab& slab)
      : object(reinterpret_cast<std::uint8_t*>(slab.first)), behind(object + slab.track(0).requested) {
    std::uint8_t* const page = object - reinterpret_cast<std::uint64_t>(object) % kPageSize;
    before = std::max(page, object - GuardPool::kZone);
    end = std::min(page + kPageSize, behind + GuardPool::kZone);
  }
  void lay() const {
    std::memset(before, object_guard::kZoneByte, static_cast<std::size_t>(object - before));
    std::memset(behind, object_guard::kZoneByte, static_cast<std::size_t>(end - behind));
  }
};

// At the page's end, as near to it as the cache aligns its objects, or at its beginning: either edge guards one side.
std::byte* place_in(std::byte* page, const CacheRecord& cache, std::uint32_t requested) {
  if ((platform::random() & 1) != 0) return page;
  return page + (kPageSize - requested) / cache.align * cache.align;
}

}  // namespace

std::uint32_t GuardPool::slots_for(std::uint64_t memory_bytes) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(memory_bytes / kBytesForSlot, kMostSlots));
}

std::uint32_t GuardPool::record_frames(std::uint32_t slots) {
  return static_cast<std::uint32_t>((slots * sizeof(GuardSlot) + kPageSize - 1) / kPageSize);
}

void GuardPool::start(const FrameTable& frames, FrameHider& hider, FrameNumber first, std::uint32_t slots,
                      std::uint32_t every) {
  CHECK(record_.count == 0 && slots > 0 && slots <= kMostSlots);
  frames_ = &frames;
  hider_ = &hider;
  record_.slots = reinterpret_cast<GuardSlot*>(frames.open(first).bytes());
  record_.first = raw(first) + record_frames(slots);
  record_.every = every;
  record_.left.store(every, std::memory_order_relaxed);
  for (std::uint32_t page = 0; page < pages(slots); ++page) {
    frames[page_at(page)].tag.store(kPoolTag, std::memory_order_relaxed);
    hider.hide(page_at(page), kOnePage);
  }
  free_.with([&](FreeSlots& free) {
    for (std::uint32_t n = 0; n < slots; ++n) {
      auto* const slot = new (record_.slots + n) GuardSlot{};
      slot->slab.objects = 1;
      slot->slab.inverse = 1;  // index_of() is the distance from the object: 0 for itself only
      slot->slab.head = &frames[page_at(2 * n + 1)];
      slot->free_bits[0] = 1;
      free.push_back(slot->slab);
    }
  });
  record_.count = slots;
}

void* GuardPool::take(KmemCache& cache, std::uint32_t requested, std::uint64_t site) {
  Slab* slab = nullptr;
  free_.with([&slab](FreeSlots& free) { slab = free.pop_front(); });
  if (slab == nullptr) return nullptr;
  const FrameNumber page = frames_->number_of(*slab->head);
  hider_->show(page, kOnePage);
  slab->cache = &cache;
  slab->number = static_cast<std::uint8_t>(cache.number());
  slab->first = place_in(frames_->open(page).bytes(), cache.record(), requested);
  slab->taken = 1;
  slab->free_bits()[0] = 0;
  slab->track(0) = {.allocated = HeapCall::from(site), .freed = {}, .requested = requested};
  Zones(*slab).lay();
  slab->head->owner.store(reinterpret_cast<std::uint64_t>(slab), std::memory_order_relaxed);
  set_object(slab->states()[0], ObjectState::allocated);
  return slab->first;
}

Error GuardPool::give(Slab& slab, std::uint64_t site) {
  std::uint8_t& state = slab.states()[0];
  // Of two that release it at once one is told so, and looks at no page that the other has hidden.
  const bool claimed = free_.with([&state](const FreeSlots&) {
    const bool allocated = object_is(state, ObjectState::allocated);
    if (allocated) set_object(state, ObjectState::cached);
    return allocated;
  });
  if (!claimed) return Error::double_free;
  if (const Error error = misuse_of(slab); error != Error::ok) {
    set_object(state, ObjectState::allocated);
    return error;
  }
  hider_->hide(frames_->number_of(*slab.head), kOnePage);
  slab.track(0).freed = HeapCall::from(site);
  slab.taken = 0;
  slab.free_bits()[0] = 1;
  free_.with([&](FreeSlots& free) {
    set_object(state, ObjectState::free);
    free.push_back(slab);
  });
  return Error::ok;
}

std::uint64_t GuardPool::live_objects(const KmemCache& cache, std::span<const void*> some) const {
  std::uint64_t count = 0;
  for (const GuardSlot& slot : slots()) {
    if (slot.slab.cache != &cache || !object_is(slot.states[0], ObjectState::allocated)) continue;
    if (count < some.size()) some[count] = slot.slab.first;
    ++count;
  }
  return count;
}

void GuardPool::forget(const KmemCache& cache) {
  for (GuardSlot& slot : slots()) {
    if (slot.slab.cache != &cache) continue;
    slot.slab.head->owner.store(0, std::memory_order_relaxed);
    slot.slab.cache = nullptr;
  }
}

const std::uint8_t* GuardPool::damage_of(const Slab& slab) {
  const Zones zones(slab);
  const std::uint8_t* wrong = object_guard::first_other(zones.before, zones.object, object_guard::kZoneByte);
  if (wrong != zones.object) return wrong;
  wrong = object_guard::first_other(zones.behind, zones.end, object_guard::kZoneByte);
  return wrong != zones.end ? wrong : nullptr;
}

Error GuardPool::misuse_of(const Slab& slab) {
  const std::uint8_t* const wrong = damage_of(slab);
  if (wrong == nullptr) return Error::ok;
  return wrong < reinterpret_cast<const std::uint8_t*>(slab.first) ? Error::underflow : Error::overflow;
}

// Null where there is no such slot, or none that a cache has to do with.
const GuardSlot* GuardPool::slot(std::uint64_t number) const {
  return number < record_.count && record_.slots[number].slab.cache != nullptr ? &record_.slots[number]
                                                                               : nullptr;
}

const Slab* GuardPool::slot_meant(std::uint64_t address) const {
  if (record_.count == 0) return nullptr;
  const FrameNumber frame = frames_->frame_behind(address);
  if (frame == kNoFrame || frame < page_at(0)) return nullptr;
  const std::uint64_t page = frame - page_at(0);
  if (page >= pages(record_.count)) return nullptr;
  const GuardSlot* const right = slot(page / 2);  // of a guard page, the neighbour above; else its own page's
  if (page % 2 != 0) return right != nullptr ? &right->slab : nullptr;
  const GuardSlot* const left = page == 0 ? nullptr : slot(page / 2 - 1);
  if (left == nullptr || right == nullptr)
    return left != nullptr ? &left->slab : right != nullptr ? &right->slab : nullptr;
  const std::uint64_t behind_left =
      address - reinterpret_cast<std::uint64_t>(left->slab.first) - left->track.requested;
  const std::uint64_t before_right = reinterpret_cast<std::uint64_t>(right->slab.first) - address;
  return behind_left <= before_right ? &left->slab : &right->slab;
}

bool GuardPool::slot_valid(std::size_t number) const {
  const GuardSlot& slot = record_.slots[number];
  const bool free = object_is(slot.states[0], ObjectState::free);
  if (!free && !object_is(slot.states[0], ObjectState::allocated)) return false;
  if (slot.slab.node.linked() != free || slot.slab.taken != !free || slot.free_bits[0] != free) return false;
  const Frame& frame = (*frames_)[page_at(2 * number + 1)];
  if (slot.slab.head != &frame || frame.tag.load(std::memory_order_relaxed) != kPoolTag) return false;
  const std::uint64_t owner = slot.slab.cache == nullptr ? 0 : reinterpret_cast<std::uint64_t>(&slot);
  return frame.owner.load(std::memory_order_relaxed) == owner && (free || owner != 0);
}

bool GuardPool::valid() const {
  std::size_t free = 0;
  for (std::size_t number = 0; number < record_.count; ++number) {
    if (!slot_valid(number)) return false;
    free += object_is(record_.slots[number].states[0], ObjectState::free);
  }
  return free_.with([free](const FreeSlots& list) { return list.valid() && list.size() == free; });
}

}  // namespace memory
