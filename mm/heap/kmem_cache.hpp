// KmemCache: hands out objects of one size, from slabs over frames, through magazines that each CPU holds.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>
#include <string_view>

#include "mm/base/sync.hpp"
#include "mm/heap/depot.hpp"
#include "mm/heap/object_guard.hpp"
#include "mm/heap/slab.hpp"
#include "mm/physical/gfp.hpp"

namespace memory {

class Heap;
class Inspector;
struct SlotHold;

// What a cache is made with. The name outlives nothing: it is copied.
struct CacheShape {
  static constexpr std::size_t kNameBytes = 32;  // with a terminating zero

  enum class Magazines : std::uint8_t { on, off };

  std::string_view name;
  std::uint32_t object_bytes = 0;  // 1 .. SlabCut::kMaxBytes
  std::uint32_t align = 8;         // a power of two, 8 .. kPageSize
  Gfp zone = Gfp::kernel;          // Gfp::dma: slabs below 16 MiB
  Magazines magazines = Magazines::on;
  SlabCut::Records records = SlabCut::Records::outside;
  // Objects are constructed when their slab is made and destructed when it is given back; in between they are handed
  // out as they were released. Both may be null.
  void (*construct)(void*) = nullptr;
  void (*destruct)(void*) = nullptr;
};

// For what a cache needs itself, wherever its objects are to lie.
constexpr Gfp anywhere(Gfp flags) { return has(flags, Gfp::atomic) ? Gfp::atomic : Gfp::kernel; }

// Directly mapped memory in which every frame is present: what the common release asks first, in one comparison. The
// largest such range of the zone that serves most requests; for objects elsewhere the whole frame array is asked.
struct ObjectWindow {
  std::byte* base = nullptr;
  std::uint64_t bytes = 0;
  Frame* frames = nullptr;  // of its first byte
};

// Standard layout. The slabs by how many objects are out of them; lives inside the cache's lock of rank cache.
struct SlabLists {
  using Slabs = List<Slab, offsetof(Slab, node)>;

  Slabs partial;
  Slabs full;                // nothing free
  Slabs empty;               // nothing taken
  std::uint64_t taken = 0;   // objects out of all slabs
  std::uint32_t colour = 0;  // of the next slab
  std::uint32_t unused = 0;
};

// Released objects in the order of their release, chained through their tracks. Standard layout; lives inside the cache's
// lock of rank depot.
struct Quarantine {
  std::uint64_t first = 0;  // the oldest; 0: there is none
  std::uint64_t last = 0;
  std::uint64_t objects = 0;
};

// What an outside reader follows to a cache. Standard layout; immutable after construction, but for the window.
struct CacheRecord {
  char name[CacheShape::kNameBytes] = {};
  std::uint32_t number = 0;  // in its Heap; the tag of its frames
  std::uint32_t object_bytes = 0;
  std::uint32_t align = 0;
  std::uint32_t magazine_most = 0;  // objects that a magazine may come to hold; 0: it has none
  SlabCut cut;
  ObjectWindow window;
  const SlabLists* lists = nullptr;
  const Depot* depot = nullptr;
  const Quarantine* quarantine = nullptr;
};

// Levels in objects, and what they lie in. Racy by design: exact when nobody allocates.
struct CacheLevels {
  std::uint64_t allocated;  // the callers' objects in slabs
  std::uint64_t guarded;    // the callers' objects in the guard pool, of which nothing else here knows
  std::uint64_t cached;     // released, and not home in their slabs: in magazines, in quarantine
  std::uint64_t objects;    // in all slabs
  std::uint64_t slabs;
  std::uint64_t empty_slabs;
  std::uint64_t magazines;  // in the depot
  std::uint64_t active() const { return allocated + guarded; }
  // Bytes of frames that hold no caller's object, wholly empty slabs and shares of others alike.
  std::uint64_t held_free_bytes(const SlabCut& cut) const {
    return slabs * bytes_in(Order{cut.order}) - allocated * cut.stride;
  }
};

class KmemCache {
 public:
  // Ok, or why a cache cannot be made so: invalid for a name that is empty, too long or not printable, a size of 0, an
  // alignment that is none or a zone that is not; too_big when no object fits into the largest slab.
  static Error check(const CacheShape& shape);

  // In place, and where it stays: `heap` lists it, and outlives it. Takes no memory. Precondition: check(shape) is ok and
  // `heap` has room for it (Heap::kMaxCaches).
  KmemCache(Heap& heap, const CacheShape& shape);
  // Nothing is freed by destruction: retire() first, or let the whole machine end.
  ~KmemCache() = default;
  KmemCache(const KmemCache&) = delete;
  KmemCache& operator=(const KmemCache&) = delete;

  // An object; its contents are undefined. Fails with no_memory when there is none and no slab can be made, not even
  // with what magazines elsewhere hold; invalid when `flags` ask for another zone than the cache's. From any CPU and
  // from interrupt handlers, with no lock held below rank cache, standing on a CPU of the heap's machine.
  [[gnu::always_inline]] Result<void*> allocate(Gfp flags = Gfp::kernel) {
    if constexpr (kGuardedHeap) return allocate_guarded(flags);
    return take(flags);
  }

  // Takes an object back. Fails, and nothing changed, with double_free when it is free already, its slab given back or
  // not; interior_object, wild_object or wrong_cache when `object` is no start of an object of this cache. Exact for
  // every address there is.
  // With overflow or underflow when what lies around the object was written to: in a guarded profile of every object, else
  // of those that the guard pool serves.
  // (Two CPUs that release one object at the same instant may both pass: then the second that is given it stops the
  // machine.)
  [[gnu::always_inline]] Result<void> release(void* object) {
    if constexpr (kGuardedHeap) return release_guarded(object);
    return give(object);
  }

  // The same many times over: all of them, or none and no_memory. `objects` is undefined after a failure.
  Result<void> allocate_bulk(std::span<void*> objects, Gfp flags = Gfp::kernel);
  // Releases all of them, or none and the misuse of the first that is wrong.
  Result<void> release_bulk(std::span<void* const> objects);

  // Gives empty slabs back to the frames, and all that magazines hold but for those that are in use just now; how many
  // frames that were. Never waits.
  std::uint64_t trim();
  // The same, and what is in quarantine.
  std::uint64_t shrink();
  // The same, waiting for those in use: then what is out of the slabs is allocated, and nothing else. Precondition: no
  // lock is held, preemption is on, and nobody was interrupted in this cache by the caller.
  void quiesce();

  // Gives everything back and leaves the heap's list: the cache can be destroyed. Fails with busy while objects are
  // allocated. Precondition: as quiesce(), and nobody uses the cache.
  Result<void> retire();

  // The callers' objects, as many as `some` has room for; how many there are. Precondition: nobody allocates.
  std::uint64_t live_objects(std::span<const void*> some) const;

  // With config::debug_slab and in the guard pool: what is written down of the object that `address` lies in, and the
  // first byte around it that somebody wrote to; null where there is none.
  static const ObjectTrack* track_of(const Slab& slab, std::uint64_t address);
  static const std::uint8_t* damage_at(const Slab& slab, std::uint64_t address);

  // Whether its objects are callers': not of a cache that caches need themselves, whose objects have neither guards nor
  // tracks and are never leaks.
  bool watched() const { return records_ == SlabCut::Records::outside; }
  // Bytes that the caller of that object asked for, or where the profile does not record that, may use.
  std::size_t asked_for(const Slab& slab, std::uint64_t index) const {
    const bool tracked = slab.in_guard_pool() || (config::debug_slab && watched());
    return tracked ? slab.track(index).requested : record_.object_bytes;
  }

  // What release() would say of that address, changing nothing.
  Error misuse_of(const void* object) const;

  std::string_view name() const { return record_.name; }
  std::uint32_t number() const { return record_.number; }
  std::uint32_t object_bytes() const { return record_.object_bytes; }
  const SlabCut& cut() const { return record_.cut; }
  const CacheRecord& record() const { return record_; }
  CacheLevels levels() const;

  // Proves K1-K4 of kmem_cache.cpp. Precondition: nobody allocates. O(objects).
  bool valid() const;
  // A row of slabinfo.
  void describe(Inspector& to) const;

 private:
  friend class Heap;
  friend class Kmalloc;

  Result<void*> allocate_slowly(Gfp flags, MagazineSlot& slot, std::uintptr_t word, std::size_t requested,
                                std::uint64_t site = 0);
  void* allocate_sample(Gfp flags, std::size_t requested, std::uint64_t site);
  void release_slowly(void* object, std::uint8_t& state, MagazineSlot& slot, std::uintptr_t word);
  Result<void> release_anywhere(void* object);
  Result<void> release_from(void* object, std::uint64_t site);

  // Without guards.
  Result<void*> take(Gfp flags);
  Result<void> give(void* object);

  // kmem_cache_guard.cpp. `site`: who asked, for how many bytes.
  Result<void*> allocate_guarded(Gfp flags);
  Result<void> release_guarded(void* object);
  Result<void*> allocate_watched(Gfp flags, std::size_t requested, std::uint64_t site);
  Result<void> release_watched(void* object, std::uint64_t site);
  Error inspect(const void* object, const Slab& slab) const;
  void bury(void* object, std::uint64_t site);
  void confine(void* object, std::uint8_t& state, std::uint64_t site);
  void let_out(void* object, std::uint64_t site);
  void tell_damage(void* object, const std::uint8_t* wrong, std::uint64_t site);
  void empty_quarantine();
  bool quarantine_valid(std::uint64_t quarantined) const;
  void guard_new(Slab& slab);
  void resize_watched(void* object, std::size_t requested);
  static object_guard::Place place_of(const Slab& slab, std::uint64_t index);
  const std::uint8_t* damage_of_free(const object_guard::Place& place) const;
  struct Watched;
  Watched watched_at(const void* object) const;
  ObjectTrack& track_at(const void* object) const;

  // The fast paths, for Kmalloc, too.
  static void* take_loaded(SlotHold& hold);
  static bool put_loaded(SlotHold& hold, void* object, std::uint8_t& state);
  template <typename Wanted>
  static std::uint8_t* find_allocated(const ObjectWindow& window, std::uint64_t address, Wanted&& wanted);
  void put(void* object, std::uint8_t& state);

  Slab* slab_at(const void* address) const;
  Slab* slab_of_object(const void* object) const;
  Error judge(const void* object, Slab*& slab, std::uint64_t& index) const;
  Error judge_elsewhere(std::uint64_t address) const;

  ObjectMagazine* load_pair(Gfp flags);
  ObjectMagazine* make_magazine(Gfp flags);
  ObjectMagazine* next_to_take_from(ObjectMagazine& loaded, Gfp flags);
  ObjectMagazine* next_to_put_into(ObjectMagazine& loaded);
  void grow_limit(ObjectMagazine& magazine) const;

  struct Objects;
  std::uint32_t take_many(Gfp flags, void** objects, std::uint8_t** states, std::uint32_t count);
  void take_from(SlabLists& lists, Slab& slab, Objects& out);
  static void shuffle(Objects& taken);
  void give_back(void* const* objects, std::uint8_t* const* states, std::uint32_t count);
  void give_one(SlabLists& lists, Slab& slab, std::uint64_t index, SlabLists::Slabs& spare);

  Result<Slab*> make_slab(Gfp flags);
  void unmake(Slab& slab);
  std::uint64_t unmake_all(SlabLists::Slabs& slabs);

  enum class Wait : std::uint8_t { no, yes };
  void empty_pairs(Wait wait);
  void empty_depot();
  void send_home(ObjectMagazine& magazine);
  std::uint64_t give_up_empty_slabs();
  std::uint64_t objects_in_magazines() const;
  struct Census;
  bool slab_valid(const Slab& slab, Census& found) const;
  bool magazine_valid(const ObjectMagazine& magazine) const;

  CacheRecord record_;
  Heap& heap_;
  const Gfp zone_;
  const SlabCut::Records records_;
  void (*const construct_)(void*);
  void (*const destruct_)(void*);
  std::uint16_t depot_most_ = 0;  // full magazines
  std::uint16_t spare_most_ = 0;  // empty slabs
  Guarded<SlabLists, IrqSpin<Rank::cache>> slabs_;
  Guarded<Depot, IrqSpin<Rank::depot>> depot_;
  Guarded<Quarantine, IrqSpin<Rank::depot>> quarantine_;
};

// What the fast paths leave to the slow ones: the slot, which is held unless `word` is kTakenSlot.
struct SlotHold {
  MagazineSlot& slot;
  std::uintptr_t word;

  explicit SlotHold(unsigned number)
      : slot(platform::percpu().magazines[number]),
        word(slot.exchange(kTakenSlot, std::memory_order_acquire)) {}
  bool loaded() const { return word > kTakenSlot; }
  void give_back() { slot.store(word, std::memory_order_release); }
};

// An object off the loaded magazine, `allocated`; or null, and `hold` is still held.
[[gnu::always_inline]] inline void* KmemCache::take_loaded(SlotHold& hold) {
  if (!hold.loaded()) [[unlikely]]
    return nullptr;
  ObjectMagazine& magazine = *magazine_in(hold.word);
  std::uint64_t last = 0;
  if (__builtin_sub_overflow(magazine.size(), std::uint64_t{1}, &last)) [[unlikely]]
    return nullptr;
  void* const object = magazine.objects[last];
  if (reinterpret_cast<std::uintptr_t>(object) < kPageSize)
    __builtin_unreachable();  // so nobody asks whether there is one, nor ok()
  std::uint8_t& state = *magazine.states[last];
  magazine.set_size(last);
  hold.give_back();
  CHECK(object_is(state, ObjectState::cached));  // K3
  set_object(state, ObjectState::allocated);
  return object;
}

// Puts a `cached` object onto the loaded magazine; or not, and `hold` is still held.
[[gnu::always_inline]] inline bool KmemCache::put_loaded(SlotHold& hold, void* object, std::uint8_t& state) {
  if (!hold.loaded()) [[unlikely]]
    return false;
  ObjectMagazine& magazine = *magazine_in(hold.word);
  const std::uint64_t count = magazine.size();
  if (count >= magazine.limit) [[unlikely]]
    return false;
  magazine.objects[count] = object;
  magazine.states[count] = &state;
  magazine.set_size(count + 1);
  hold.give_back();
  return true;
}

// The state of the allocated object that begins at `address`, if it lies in the window, in a frame with the tag that
// `wanted` accepts; else null.
template <typename Wanted>
[[gnu::always_inline]] inline std::uint8_t* KmemCache::find_allocated(const ObjectWindow& window,
                                                                      std::uint64_t address,
                                                                      Wanted&& wanted) {
  const std::uint64_t offset = address - reinterpret_cast<std::uint64_t>(window.base);
  if (offset >= window.bytes) [[unlikely]]
    return nullptr;
  const Frame& frame = window.frames[offset / kPageSize];
  if (!wanted(frame.tag.load(std::memory_order_relaxed))) [[unlikely]]
    return nullptr;
  auto* const slab = reinterpret_cast<Slab*>(frame.owner.load(std::memory_order_relaxed));
  const std::uint64_t index = slab->index_of(address);
  if (index >= slab->objects) [[unlikely]]
    return nullptr;
  std::uint8_t& state = slab->states()[index];
  return object_is(state, ObjectState::allocated) ? &state : nullptr;
}

[[gnu::always_inline]] inline Result<void*> KmemCache::take(Gfp flags) {
  SlotHold hold(record_.number);
  if (!has(flags, Gfp::dma)) [[likely]] {
    if (void* const object = take_loaded(hold); object != nullptr) [[likely]]
      return object;
  }
  return allocate_slowly(flags, hold.slot, hold.word, record_.object_bytes);
}

[[gnu::always_inline]] inline Result<void> KmemCache::give(void* object) {
  const unsigned number = record_.number;
  std::uint8_t* const state = find_allocated(record_.window, reinterpret_cast<std::uint64_t>(object),
                                             [number](unsigned tag) { return tag == number; });
  if (state == nullptr) [[unlikely]]
    return release_anywhere(object);
  set_object(*state, ObjectState::cached);
  SlotHold hold(number);
  if (!put_loaded(hold, object, *state)) [[unlikely]]
    release_slowly(object, *state, hold.slot, hold.word);
  return {};
}

}  // namespace memory
