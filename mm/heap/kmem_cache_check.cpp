// KmemCache: levels, and the proof of K1-K4.
// SPDX-License-Identifier: MIT
#include "mm/base/bits.hpp"
#include "mm/heap/heap.hpp"
#include "mm/heap/kmem_cache.hpp"
#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

// Both magazines of each CPU's pair that is not in use just now. body(const ObjectMagazine&).
template <typename Body>
void for_each_loaded(const Heap& heap, unsigned number, Body&& body) {
  for (PerCpu* const cpu : heap.cpus()) {
    if (cpu == nullptr) continue;
    const std::uintptr_t word = cpu->magazines[number].load(std::memory_order_acquire);
    if (word <= kTakenSlot) continue;
    const ObjectMagazine& loaded = *magazine_in(word);
    body(loaded);
    body(*loaded.mate);
  }
}

}  // namespace

// Racy: a pair may be emptied and given back meanwhile, but its memory stays a magazine while its cache lives or is
// nobody's, so what is read is a number at worst.
std::uint64_t KmemCache::objects_in_magazines() const {
  std::uint64_t objects = 0;
  for_each_loaded(heap_, record_.number, [&](const ObjectMagazine& magazine) { objects += magazine.size(); });
  depot_.with([&](const Depot& depot) {
    for (const ObjectMagazine& magazine : depot.full) objects += magazine.size();
  });
  return objects;
}

CacheLevels KmemCache::levels() const {
  CacheLevels levels{};
  std::uint64_t taken = 0;
  slabs_.with([&](const SlabLists& lists) {
    levels.slabs = lists.partial.size() + lists.full.size() + lists.empty.size();
    levels.empty_slabs = lists.empty.size();
    taken = lists.taken;
  });
  levels.objects = levels.slabs * record_.cut.objects;
  levels.cached =
      objects_in_magazines() + quarantine_.with([](const Quarantine& waiting) { return waiting.objects; });
  levels.allocated = taken - (levels.cached < taken ? levels.cached : taken);
  levels.guarded = heap_.guards().live_objects(*this, {});
  levels.magazines = depot_.with([](const Depot& depot) { return depot.full.size() + depot.empty.size(); });
  return levels;
}

// Objects by what their state says.
struct KmemCache::Census {
  std::uint64_t cached = 0;
  std::uint64_t quarantined = 0;
};

// K1 and K2 of one slab.
bool KmemCache::slab_valid(const Slab& slab, Census& found) const {
  if (slab.cache != this || slab.number != record_.number || slab.objects != record_.cut.objects)
    return false;
  if (slab.inverse != record_.cut.inverse || slab.shift != record_.cut.shift) return false;
  std::uint32_t free = 0;
  for (std::uint32_t index = 0; index < slab.objects; ++index) {
    const std::uint8_t state = slab.states()[index];
    if (state > static_cast<std::uint8_t>(kQuarantines ? ObjectState::quarantined : ObjectState::allocated))
      return false;
    const bool is_free = state == static_cast<std::uint8_t>(ObjectState::free);
    if (is_free != ((slab.free_bits()[index / 64] >> index % 64 & 1) != 0)) return false;
    free += is_free;
    found.cached += object_is(state, ObjectState::cached);
    found.quarantined += object_is(state, ObjectState::quarantined);
  }
  std::uint32_t bits = 0;
  for (const std::uint64_t word : slab.free_bits()) bits += popcount(word);
  if (bits != free || slab.taken + free != slab.objects) return false;

  const FrameTable& frames = heap_.physical().frames();
  const Frame* const head = slab.head;
  const Order order{record_.cut.order};
  if (!frames.has(frames.number_of(*head)) || !head->is(FrameState::allocated, order)) return false;
  if (head->references() != 2 || head->mappings() != slab.taken) return false;
  for (std::uint32_t n = 0; n < frames_in(order); ++n)
    if (head[n].tag != record_.number || head[n].index != n ||
        head[n].owner != reinterpret_cast<std::uint64_t>(&slab))
      return false;
  const std::byte* const bytes = frames.open(frames.number_of(*head)).bytes();
  const std::uint64_t before = static_cast<std::uint64_t>(slab.first - bytes) - record_.cut.first;
  return before % record_.cut.colour_step == 0 && before / record_.cut.colour_step < record_.cut.colours;
}

// K3 of one magazine.
bool KmemCache::magazine_valid(const ObjectMagazine& magazine) const {
  if (magazine.size() > ObjectMagazine::kObjects || magazine.limit > record_.magazine_most) return false;
  for (std::uint32_t n = 0; n < magazine.size(); ++n) {
    const Slab* const slab = slab_at(magazine.objects[n]);
    if (slab == nullptr || slab->cache != this) return false;
    const std::uint64_t index = slab->index_of(reinterpret_cast<std::uint64_t>(magazine.objects[n]));
    if (index >= slab->objects || magazine.states[n] != &slab->states()[index]) return false;
    if (*magazine.states[n] != static_cast<std::uint8_t>(ObjectState::cached)) return false;
  }
  return true;
}

bool KmemCache::valid() const {
  Census found;
  bool good = slabs_.with([&](const SlabLists& lists) {
    std::uint64_t taken = 0;
    const auto all = [&](const SlabLists::Slabs& slabs, auto&& fits) {
      if (!slabs.valid()) return false;
      for (const Slab& slab : slabs) {
        if (!slab_valid(slab, found) || !fits(slab)) return false;
        taken += slab.taken;
      }
      return true;
    };
    return all(lists.partial, [](const Slab& slab) { return slab.taken > 0 && slab.taken < slab.objects; }) &&
           all(lists.full, [](const Slab& slab) { return slab.taken == slab.objects; }) &&
           all(lists.empty, [](const Slab& slab) { return slab.taken == 0; }) && taken == lists.taken;
  });
  for_each_loaded(heap_, record_.number, [&](const ObjectMagazine& magazine) {
    good = good && magazine.mate != nullptr && magazine.mate->mate == &magazine && magazine_valid(magazine);
  });
  good = good && depot_.with([&](const Depot& depot) {
    if (!depot.full.valid() || !depot.empty.valid()) return false;
    for (const ObjectMagazine& magazine : depot.full)
      if (magazine.size() == 0 || !magazine_valid(magazine)) return false;
    for (const ObjectMagazine& magazine : depot.empty)
      if (magazine.size() != 0) return false;
    return true;
  });
  return good &&
         // K3: with states that agree, equal numbers mean no duplicate.
         found.cached == objects_in_magazines() && quarantine_valid(found.quarantined);
}

void KmemCache::describe(Inspector& to) const {
  const CacheLevels now = levels();
  const auto count = [](std::uint64_t number) { return static_cast<std::int64_t>(number); };
  to.begin_object("", Layout::row);
  to.text("name", name());
  to.number("active_objs", count(now.active()), Unit::none);
  to.number("num_objs", count(now.objects + now.guarded), Unit::none);
  to.number("objsize", record_.cut.stride, Unit::none);
  to.number("objperslab", record_.cut.objects, Unit::none);
  to.number("pagesperslab", std::int64_t{1} << record_.cut.order, Unit::none);
  to.number("active_slabs", count(now.slabs - now.empty_slabs), Unit::none);
  to.number("num_slabs", count(now.slabs), Unit::none);
  to.number("cached", count(now.cached), Unit::none);
  to.number("held_free", count(now.held_free_bytes(record_.cut) / 1024), Unit::kib);
  to.end_object();
}

}  // namespace memory
