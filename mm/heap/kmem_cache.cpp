// KmemCache: what the loaded magazine does not serve, and the slabs behind it.
// SPDX-License-Identifier: MIT
//
// Theory (Bonwick, "The Slab Allocator", USENIX 1994; Bonwick and Adams, "Magazines and Vmem", USENIX 2001). A slab is a
// block of frames cut into equal objects. In front of the slabs each CPU has a pair of magazines, and between the two
// lies the depot of magazines that are full or empty. A request that the loaded magazine cannot serve tries its mate, then
// changes an empty magazine for a full one in the depot, and only then takes one magazine's worth out of slabs; a release
// goes the same way back.
//
//   allocate ──> loaded ──> mate ──> depot ──> partial slabs ──> empty slabs ──> a new slab out of frames
//   release  ──> loaded ──> mate ──> depot ──> home to the slabs ──(more than a few empty)──> frames
//
// All that is known about an object lies outside it: one byte of state in its slab's record, which the Frame of its
// address leads to. So every release is judged exactly, and a stray write into a free object steers nothing.
//
// Locks: slabs_ (rank cache) and depot_ (rank depot) are never held together, and neither while frames or records are
// obtained or given back: a slab is made and unmade while no list has it.
//
// Invariants, proved by valid():
//   K1  a slab is on the list that fits `taken`; its bits are set for just the objects whose state is `free`, and taken
//       is the number of the others
//   K2  the slab's frames are one allocated block of its order; each has the cache's number as tag, the slab as owner and
//       its place as index; the first counts `taken` in mappings and has 2 references
//   K3  an object in a magazine is `cached` and belongs to a slab of this cache; there are as many of them as magazines say
//   K4  lists and totals agree; no magazine holds more than it has room for, nor the depot's empty ones anything
#include "mm/heap/kmem_cache.hpp"

#include <algorithm>
#include <new>

#include "mm/heap/heap.hpp"

namespace memory {

namespace {

constexpr std::uint32_t kFirstLimit = 8;
constexpr std::uint32_t kIdleLimit = 2;             // while most of the heap lies idle
constexpr std::uint32_t kMagazineBytes = 16 << 10;  // that a magazine may come to hold
constexpr std::uint32_t kDepotBytes = 1 << 20;      // that full magazines in the depot may hold
constexpr std::uint32_t kSpareBytes = 16 << 10;     // that empty slabs may keep

std::uint32_t most_for(const CacheShape& shape, const SlabCut& cut) {
  if (shape.magazines == CacheShape::Magazines::off) return 0;
  return std::clamp(kMagazineBytes / cut.stride, 1u, ObjectMagazine::kObjects);
}

bool printable(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace

// ---- made and retired -------------------------------------------------------------------------------------------

Error KmemCache::check(const CacheShape& shape) {
  const bool aligned = shape.align >= SlabCut::kMinStride && shape.align <= kPageSize &&
                       (shape.align & (shape.align - 1)) == 0;
  if (shape.name.empty() || shape.name.size() >= CacheShape::kNameBytes || !printable(shape.name))
    return Error::invalid;
  if (shape.object_bytes == 0 || !aligned) return Error::invalid;
  if (!memory::valid(shape.zone) || has(shape.zone, Gfp::highmem)) return Error::invalid;
  if (shape.object_bytes > SlabCut::kMaxBytes) return Error::too_big;
  return SlabCut::of(shape.object_bytes, shape.align, shape.records).error();
}

KmemCache::KmemCache(Heap& heap, const CacheShape& shape)
    : heap_(heap),
      zone_(shape.zone),
      records_(shape.records),
      construct_(shape.construct),
      destruct_(shape.destruct) {
  CHECK(check(shape) == Error::ok);
  std::copy(shape.name.begin(), shape.name.end(), record_.name);
  record_.object_bytes = shape.object_bytes;
  record_.align = shape.align;
  record_.cut = SlabCut::of(shape.object_bytes, shape.align, shape.records).take();
  record_.magazine_most = most_for(shape, record_.cut);
  record_.window = heap.window_;
  slabs_.with([this](const SlabLists& lists) { record_.lists = &lists; });
  depot_.with([this](const Depot& depot) { record_.depot = &depot; });
  quarantine_.with([this](const Quarantine& quarantine) { record_.quarantine = &quarantine; });
  const std::uint32_t magazine_bytes = std::max(record_.magazine_most, 1u) * record_.cut.stride;
  depot_most_ = static_cast<std::uint16_t>(std::max(kDepotBytes / magazine_bytes, 1u));
  spare_most_ =
      static_cast<std::uint16_t>(std::max(kSpareBytes / (kPageSize << record_.cut.order), std::size_t{1}));
  record_.number = heap.enlist(*this, record_);
  CHECK(record_.number != 0);
}

Result<void> KmemCache::retire() {
  quiesce();
  if (slabs_.with([](const SlabLists& lists) { return lists.taken; }) != 0) return Error::busy;
  if (heap_.guards().live_objects(*this, {}) != 0) return Error::busy;
  heap_.guards().forget(*this);
  empty_pairs(Wait::yes);
  heap_.delist(record_.number);
  return {};
}

std::uint64_t KmemCache::live_objects(std::span<const void*> some) const {
  std::uint64_t count = heap_.guards().live_objects(*this, some);
  slabs_.with([&](const SlabLists& lists) {
    for (const SlabLists::Slabs* const slabs : {&lists.partial, &lists.full})
      for (const Slab& slab : *slabs)
        for (std::uint32_t index = 0; index < slab.objects; ++index) {
          if (!object_is(slab.states()[index], ObjectState::allocated)) continue;
          if (count < some.size()) some[count] = slab.first + std::size_t{index} * record_.cut.stride;
          ++count;
        }
  });
  return count;
}

// ---- many at once -----------------------------------------------------------------------------------------------

Result<void> KmemCache::allocate_bulk(std::span<void*> objects, Gfp flags) {
  for (std::size_t n = 0; n < objects.size(); ++n) {
    const auto object = allocate(flags);
    if (!object.ok()) {
      while (n > 0) CHECK(release(objects[--n]).ok());
      return object.error();
    }
    objects[n] = object.take();
  }
  return {};
}

Result<void> KmemCache::release_bulk(std::span<void* const> objects) {
  const auto site = reinterpret_cast<std::uint64_t>(__builtin_return_address(0));
  // An object that is there twice is found when its second turn comes: the first has made it `cached`.
  std::size_t done = 0;
  Error error = Error::ok;
  while (done < objects.size() && error == Error::ok) {
    Slab* slab = nullptr;
    std::uint64_t index = 0;
    error = judge(objects[done], slab, index);
    if (error == Error::ok) error = inspect(objects[done], *slab);
    if (error == Error::ok) set_object(slab->states()[index], ObjectState::cached), ++done;
  }
  for (std::size_t n = 0; n < done; ++n) {
    Slab* const slab = slab_at(objects[n]);
    std::uint8_t& state = slab->states()[slab->index_of(reinterpret_cast<std::uint64_t>(objects[n]))];
    const bool guarded = slab->in_guard_pool();
    if (error != Error::ok || guarded) set_object(state, ObjectState::allocated);
    if (error != Error::ok) continue;
    if (guarded) {
      CHECK(heap_.guards().give(*slab, site) == Error::ok);
    } else {
      if constexpr (kGuardedHeap)
        if (watched()) bury(objects[n], site);
      put(objects[n], state);
    }
  }
  return error;
}

// ---- addresses --------------------------------------------------------------------------------------------------

// The slab of this heap in whose frames `address` lies, whoever's it is; null when there is none.
Slab* KmemCache::slab_at(const void* address) const {
  const FrameTable& frames = heap_.physical().frames();
  const FrameNumber frame = frames.frame_behind(reinterpret_cast<std::uint64_t>(address));
  if (frame == kNoFrame) return nullptr;
  const unsigned tag = frames[frame].tag.load(std::memory_order_relaxed);
  const bool has_slab = (tag != 0 && tag < kCacheSlots) || tag == static_cast<unsigned>(FrameTag::guard_pool);
  if (!has_slab) return nullptr;
  return reinterpret_cast<Slab*>(frames[frame].owner.load(std::memory_order_relaxed));
}

// What a release of an address that lies in no slab is. In free memory it is one too many: the slab is gone, or the large
// object was.
Error KmemCache::judge_elsewhere(std::uint64_t address) const {
  const FrameTable& frames = heap_.physical().frames();
  const FrameNumber frame = frames.frame_behind(address);
  if (frame == kNoFrame) return Error::wild_object;
  if (frames.is_free(frame)) return Error::double_free;
  const FrameNumber head = frames.block_around(frame);
  if (head == kNoFrame ||
      frames[head].tag.load(std::memory_order_relaxed) != static_cast<std::uint8_t>(FrameTag::large_object))
    return Error::wild_object;
  return frame == head && address % kPageSize == 0 ? Error::wrong_cache : Error::interior_object;
}

// What a release of `object` is: ok, with its slab and index, or the misuse.
Error KmemCache::judge(const void* object, Slab*& slab, std::uint64_t& index) const {
  slab = slab_at(object);
  const auto address = reinterpret_cast<std::uint64_t>(object);
  if (slab == nullptr) return judge_elsewhere(address);
  index = slab->index_of(address);
  if (index >= slab->objects) {
    const std::uint64_t offset = address - reinterpret_cast<std::uint64_t>(slab->first);
    const std::uint64_t end = std::uint64_t{slab->objects} * slab->cache->record_.cut.stride;
    return offset < end ? Error::interior_object : Error::wild_object;
  }
  if (slab->cache != this) return Error::wrong_cache;
  return object_is(slab->states()[index], ObjectState::allocated) ? Error::ok : Error::double_free;
}

Error KmemCache::misuse_of(const void* object) const {
  Slab* slab = nullptr;
  std::uint64_t index = 0;
  return judge(object, slab, index);
}

void KmemCache::put(void* object, std::uint8_t& state) {
  set_object(state, ObjectState::cached);
  SlotHold hold(record_.number);
  if (!put_loaded(hold, object, state)) release_slowly(object, state, hold.slot, hold.word);
}

// For addresses outside the window, those of the guard pool, and those with which something is wrong.
[[gnu::noinline]] Result<void> KmemCache::release_anywhere(void* object) {
  return release_from(object, reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
}

// `site`: who asked.
Result<void> KmemCache::release_from(void* object, std::uint64_t site) {
  Slab* slab = nullptr;
  std::uint64_t index = 0;
  if (const Error error = judge(object, slab, index); error != Error::ok) return error;
  DCHECK(slab != nullptr);
  if (slab->in_guard_pool()) return heap_.guards().give(*slab, site);
  put(object, slab->states()[index]);
  return {};
}

// ---- magazines --------------------------------------------------------------------------------------------------

void KmemCache::grow_limit(ObjectMagazine& magazine) const {
  magazine.limit = std::min(magazine.limit * 2, std::uint64_t{record_.magazine_most});
}

ObjectMagazine* KmemCache::make_magazine(Gfp flags) {
  const auto room = heap_.magazines().allocate(anywhere(flags));
  if (!room.ok()) return nullptr;
  auto* const magazine = new (room.take()) ObjectMagazine;
  magazine->set_size(0);
  const std::uint32_t first = heap_.idle().mostly_idle() ? kIdleLimit : kFirstLimit;
  magazine->limit = std::min(first, record_.magazine_most);
  magazine->mate = nullptr;
  return magazine;
}

// A CPU's first pair; null when it is to do without.
ObjectMagazine* KmemCache::load_pair(Gfp flags) {
  if (record_.magazine_most == 0 || !heap_.serving() || !heap_.has_cpu(platform::percpu())) return nullptr;
  ObjectMagazine* const loaded = make_magazine(flags);
  if (loaded == nullptr) return nullptr;
  ObjectMagazine* const mate = make_magazine(flags);
  if (mate == nullptr) {
    CHECK(heap_.magazines().release(loaded).ok());
    return nullptr;
  }
  loaded->mate = mate;
  mate->mate = loaded;
  return loaded;
}

// `loaded` is empty: the magazine to take from instead, which may be empty, too.
ObjectMagazine* KmemCache::next_to_take_from(ObjectMagazine& loaded, Gfp flags) {
  ObjectMagazine* const mate = loaded.mate;
  if (mate->size() > 0) return mate;
  ObjectMagazine* full = nullptr;
  depot_.with([&](Depot& depot) {
    full = depot.full.pop_back();
    if (full != nullptr) depot.empty.push_back(loaded);
  });
  grow_limit(full != nullptr ? *full : loaded);
  if (full != nullptr) {
    heap_.idle().went_out(full->size() * record_.cut.stride);
    full->mate = mate;
    mate->mate = full;
    return full;
  }
  const auto wanted = static_cast<std::uint32_t>(loaded.limit);
  loaded.set_size(take_many(flags, loaded.objects.data(), loaded.states.data(), wanted));
  return &loaded;
}

// `loaded` is full: the magazine to put into instead.
ObjectMagazine* KmemCache::next_to_put_into(ObjectMagazine& loaded) {
  ObjectMagazine* const mate = loaded.mate;
  if (mate->size() < mate->limit) return mate;
  if (heap_.idle().mostly_idle()) {
    send_home(loaded);
    loaded.limit = std::min(kIdleLimit, record_.magazine_most);
    return &loaded;
  }
  const std::size_t bytes = loaded.size() * record_.cut.stride;
  ObjectMagazine* empty = nullptr;
  bool kept = false;
  depot_.with([&](Depot& depot) {
    if (depot.full.size() >= depot_most_) return;
    empty = depot.empty.pop_back();
    kept = empty != nullptr;
    if (kept) depot.full.push_back(loaded);
  });
  if (!kept && depot_.with([this](const Depot& depot) { return depot.full.size() < depot_most_; })) {
    empty = make_magazine(Gfp::atomic);
    if (empty != nullptr) {
      depot_.with([&](Depot& depot) { depot.full.push_back(loaded); });
      kept = true;
    }
  }
  if (!kept) {
    send_home(loaded);
    grow_limit(loaded);
    return &loaded;
  }
  heap_.idle().came_home(bytes);
  grow_limit(*empty);
  empty->mate = mate;
  mate->mate = empty;
  return empty;
}

// An object out of the guard pool, if one is due; null: the caches' own way. Not while a failure is planned, and only where
// the object's place is all that a caller may rely on.
void* KmemCache::allocate_sample(Gfp flags, std::size_t requested, std::uint64_t site) {
  if constexpr (!kHasGuardPool) return nullptr;
  const bool fits = watched() && construct_ == nullptr && !has(zone_, Gfp::dma) && memory::valid(flags) &&
                    !has(flags, Gfp::dma) && record_.object_bytes <= kPageSize;
  if (!fits || !heap_.guards().is_due() || !heap_.serving()) return nullptr;
  return heap_.guards().take(*this, static_cast<std::uint32_t>(std::max<std::size_t>(requested, 1)), site);
}

// What allocate() leaves: `word` came out of the slot, which is ours unless that was kTakenSlot. `site`: who asked; 0: who
// called this.
[[gnu::noinline]] Result<void*> KmemCache::allocate_slowly(Gfp flags, MagazineSlot& slot, std::uintptr_t word,
                                                           std::size_t requested, std::uint64_t site) {
  if (site == 0) site = reinterpret_cast<std::uint64_t>(__builtin_return_address(0));
  if (void* const sample = allocate_sample(flags, requested, site); sample != nullptr) {
    if (word != kTakenSlot) slot.store(word, std::memory_order_release);
    return sample;
  }
  void* object = nullptr;
  std::uint8_t* state = nullptr;
  const bool fits = memory::valid(flags) && (!has(flags, Gfp::dma) || has(zone_, Gfp::dma));
  const bool strikes = fits && heap_.strikes();
  ObjectMagazine* loaded = word == kTakenSlot ? nullptr : magazine_in(word);
  if (fits && !strikes) {
    if (word == kEmptySlot) loaded = load_pair(flags);
    if (loaded != nullptr) {
      if (loaded->size() == 0) loaded = next_to_take_from(*loaded, flags);
      if (const std::uint64_t count = loaded->size(); count > 0) {
        object = loaded->objects[count - 1];
        state = loaded->states[count - 1];
        loaded->set_size(count - 1);
      }
    } else {
      (void)take_many(flags, &object, &state, 1);
    }
  }
  if (word != kTakenSlot) slot.store(word_of(loaded), std::memory_order_release);
  if (!fits) return Error::invalid;
  // What other CPUs and caches keep may be just what is missing; a planned failure is to be seen.
  if (object == nullptr && !heap_.physical().fail_plan().armed()) {
    (void)heap_.shrink();
    (void)take_many(flags, &object, &state, 1);
  }
  if (object == nullptr) return Error::no_memory;
  CHECK(object_is(*state, ObjectState::cached));  // K3
  set_object(*state, ObjectState::allocated);
  return object;
}

// What put() leaves: the object is `cached`, and in no magazine yet.
[[gnu::noinline]] void KmemCache::release_slowly(void* object, std::uint8_t& state, MagazineSlot& slot,
                                                 std::uintptr_t word) {
  ObjectMagazine* loaded = word == kTakenSlot ? nullptr : magazine_in(word);
  if (word == kEmptySlot) loaded = load_pair(Gfp::atomic);
  if (loaded != nullptr && loaded->limit > 0) {
    if (loaded->size() >= loaded->limit) loaded = next_to_put_into(*loaded);
    const std::uint64_t count = loaded->size();
    loaded->objects[count] = object;
    loaded->states[count] = &state;
    loaded->set_size(count + 1);
    object = nullptr;
  }
  if (word != kTakenSlot) slot.store(word_of(loaded), std::memory_order_release);
  std::uint8_t* const place = &state;
  if (object != nullptr) give_back(&object, &place, 1);
  heap_.trim_if_idle();
}

void KmemCache::send_home(ObjectMagazine& magazine) {
  const std::uint64_t count = magazine.size();
  CHECK(count <= ObjectMagazine::kObjects);  // K4
  if (count == 0) return;
  give_back(magazine.objects.data(), magazine.states.data(), static_cast<std::uint32_t>(count));
  magazine.set_size(0);
}

// ---- shrinking --------------------------------------------------------------------------------------------------

// Empties all CPUs' pairs, and where magazines do not serve now, takes them away.
void KmemCache::empty_pairs(Wait wait) {
  if (record_.magazine_most == 0) return;
  for (PerCpu* const cpu : heap_.cpus()) {
    if (cpu == nullptr) continue;
    MagazineSlot& slot = cpu->magazines[record_.number];
    std::uintptr_t word = slot.exchange(kTakenSlot, std::memory_order_acquire);
    while (word == kTakenSlot && wait == Wait::yes) {
      platform::relax();
      word = slot.exchange(kTakenSlot, std::memory_order_acquire);
    }
    if (word == kTakenSlot) continue;
    if (word != kEmptySlot) {
      ObjectMagazine* const loaded = magazine_in(word);
      ObjectMagazine* const mate = loaded->mate;
      for (ObjectMagazine* const magazine : {loaded, mate}) {
        send_home(*magazine);
        CHECK(heap_.magazines().release(magazine).ok());
      }
    }
    slot.store(kEmptySlot, std::memory_order_release);
  }
}

void KmemCache::empty_depot() {
  for (;;) {
    ObjectMagazine* magazine = nullptr;
    depot_.with([&](Depot& depot) {
      magazine = depot.full.pop_front();
      if (magazine == nullptr) magazine = depot.empty.pop_front();
    });
    if (magazine == nullptr) return;
    heap_.idle().went_out(magazine->size() * record_.cut.stride);
    send_home(*magazine);
    CHECK(heap_.magazines().release(magazine).ok());
  }
}

std::uint64_t KmemCache::give_up_empty_slabs() {
  SlabLists::Slabs spare;
  slabs_.with([&](SlabLists& lists) { spare.splice_back(lists.empty); });
  return unmake_all(spare);
}

std::uint64_t KmemCache::trim() {
  empty_pairs(Wait::no);
  empty_depot();
  return give_up_empty_slabs();
}

std::uint64_t KmemCache::shrink() {
  empty_quarantine();
  return trim();
}

void KmemCache::quiesce() {
  empty_quarantine();
  empty_pairs(Wait::yes);
  empty_depot();
  (void)give_up_empty_slabs();
}

}  // namespace memory
