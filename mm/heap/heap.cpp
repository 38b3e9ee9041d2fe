// Heap: numbers, the window, and what is done to all caches.
// SPDX-License-Identifier: MIT
#include "mm/heap/heap.hpp"

#include <algorithm>
#include <new>

#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

// The shape of a cache that caches need: its slabs carry their own records, and it needs no magazines, or making the
// first would need another.
constexpr CacheShape inner(std::string_view name, std::size_t bytes) {
  return {.name = name,
          .object_bytes = static_cast<std::uint32_t>(bytes),
          .magazines = CacheShape::Magazines::off,
          .records = SlabCut::Records::inside};
}

ObjectWindow window_in(const FrameTable& frames, const Zone& zone) {
  ObjectWindow best;
  const FrameMap& map = frames.map();
  for (std::uint64_t n = 0; n < map.ranges; ++n) {
    const auto direct_end = static_cast<std::uint32_t>(map.direct_frames);
    const std::uint32_t first = std::max(map.range[n].first, raw(zone.first()));
    const std::uint32_t end = std::min({map.range[n].end, raw(zone.end()), direct_end});
    if (first >= end || (end - first) * kPageSize <= best.bytes) continue;
    best = {map.direct_map + first * kPageSize, (end - first) * kPageSize, &frames[FrameNumber{first}]};
  }
  return best;
}

}  // namespace

Heap::Heap(Physical& physical, std::span<PerCpu* const> cpus)
    : physical_(physical),
      cpus_(cpus),
      magazines_(*this, inner("magazine", sizeof(ObjectMagazine))),
      made_caches_(*this, inner("kmem_cache", sizeof(KmemCache))),
      slab_records_{
          {{*this, inner("slab_28", slab_record_bytes(kRecordObjects[0]))},
           {*this, inner("slab_64", slab_record_bytes(kRecordObjects[1]))},
           {*this, inner(config::debug_slab ? "slab_128" : "slab_256", slab_record_bytes(kRecordObjects[2]))},
           {*this,
            inner(config::debug_slab ? "slab_256" : "slab_512", slab_record_bytes(kRecordObjects[3]))}}} {
  record_.guards = &guards_.record();
}

void Heap::start() {
  physical_.set_reclaimer(*this);
  const Node& node = physical_.node();
  window_ = window_in(physical_.frames(), node.zone(node.first_zone(Gfp::kernel)));
  for_each([this](KmemCache& cache) { cache.record_.window = window_; });
}

Result<KmemCache*> Heap::create(const CacheShape& shape) {
  TRY(Result<void>(KmemCache::check(shape)));
  const Mutex<Rank::heap>::Hold hold(making_);
  unsigned free = 1;
  while (free < kCacheSlots && cache(free) != nullptr) ++free;
  if (free == kCacheSlots) return Error::too_big;
  void* const room = TRY(made_caches_.allocate());
  return new (room) KmemCache(*this, shape);
}

Result<void> Heap::destroy(KmemCache& cache) {
  const Mutex<Rank::heap>::Hold hold(making_);
  if (made_caches_.misuse_of(&cache) != Error::ok) return Error::not_found;
  TRY(cache.retire());
  CHECK(made_caches_.release(&cache).ok());
  return {};
}

unsigned Heap::enlist(KmemCache& cache, const CacheRecord& record) {
  for (unsigned number = 1; number < kCacheSlots; ++number) {
    KmemCache* nobody = nullptr;
    if (!caches_[number].compare_exchange_strong(nobody, &cache, std::memory_order_acq_rel)) continue;
    record_.caches[number].store(&record, std::memory_order_release);
    return number;
  }
  return 0;
}

void Heap::delist(unsigned number) {
  record_.caches[number].store(nullptr, std::memory_order_release);
  caches_[number].store(nullptr, std::memory_order_release);
}

KmemCache* Heap::made(unsigned number) const { return made_at(cache(number)); }

// Caches are objects themselves, so another cache knows which addresses are some.
KmemCache* Heap::made_at(void* address) const {
  return made_caches_.misuse_of(address) == Error::ok ? static_cast<KmemCache*>(address) : nullptr;
}

KmemCache& Heap::records_for(std::uint32_t objects) {
  std::size_t room = 0;
  while (kRecordObjects[room] < objects) ++room;
  return slab_records_[room];
}

// The inner caches last: the others give their magazines and records back to them.
std::uint64_t Heap::shrink() {
  std::uint64_t frames = 0;
  for (unsigned number = kCacheSlots; --number > 0;)
    if (KmemCache* const found = cache(number)) frames += found->shrink();
  return frames;
}

// Once is enough: what a cache gives back here may bring another to its slow path.
void Heap::trim_if_idle() {
  if (!idle_.is_due() || trimming_.exchange(true, std::memory_order_acquire)) return;
  for (unsigned number = kCacheSlots; --number > 0;)
    if (KmemCache* const found = cache(number)) (void)found->trim();
  idle_.given_back();
  trimming_.store(false, std::memory_order_release);
}

void Heap::quiesce() {
  for (unsigned number = kCacheSlots; --number > 0;)
    if (KmemCache* const found = cache(number)) found->quiesce();
}

void Heap::set_service(FrameCaches::Service service) {
  serving_.store(service == FrameCaches::Service::on, std::memory_order_relaxed);
  if (service == FrameCaches::Service::off) quiesce();
}

bool Heap::valid() const {
  bool good = guards_.valid();
  for_each([&good](const KmemCache& cache) { good = good && cache.valid(); });
  return good;
}

void Heap::describe_slabinfo(Inspector& to) const {
  to.begin_array("", Layout::table);
  for_each([&to](const KmemCache& cache) { cache.describe(to); });
  to.end_array();
}

}  // namespace memory
