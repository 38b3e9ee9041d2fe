// FrameCaches: trips to the zones.
// SPDX-License-Identifier: MIT
//
// Theory (Bonwick and Adams, "Magazines and Vmem", USENIX 2001, section 3). A CPU with two magazines goes to the zone
// at most once in `limit` operations, whatever their order: after a trip one magazine is full and the other empty, so
// `limit` allocations or releases must come before the next. Limits grow with use and start over when a shrinker took
// the blocks away, so an idle CPU keeps little.
//
// Blocks from 64 KiB on have magazines of one block where a zone is large enough that all that a CPU can park of an order
// is at most a 64th of it (docs/decisions.md). They count as free, and go home before a request is refused.
//
// Invariants, proved by valid():
//   M1  a cached block is in one magazine only, its first Frame `cached` with the pair's order and zone
//   M2  no magazine holds more than it has room for; `loaded` and `previous` are the two of its place
#include "mm/physical/magazine.hpp"

#include <algorithm>
#include <utility>

namespace memory {

namespace {

constexpr auto order_of = FrameCache::order_of;
constexpr auto kind_of = FrameCache::kind_of;

constexpr std::uint64_t first_limit(Order order) { return std::max(8u >> raw(order), 1u); }

// The same by place: a drain looks at every pair of every CPU, most of them empty.
constexpr auto kFirstLimits = [] {
  std::array<std::uint8_t, FrameCache::kPairs> limits{};
  for (std::size_t place = 0; place < limits.size(); ++place)
    limits[place] = static_cast<std::uint8_t>(first_limit(order_of(place)));
  return limits;
}();

// Two magazines of each CPU hold at most a 256th of a zone, and at least a block; of the large orders a 64th, or none.
std::uint64_t most_for(std::uint64_t zone_frames, Order order) {
  constexpr std::uint64_t kShare = 512;
  constexpr std::uint64_t kLargeShare = 128;
  if (!FrameCache::is_small(order)) return zone_frames / kLargeShare >= frames_in(order) ? 1 : 0;
  const std::uint64_t frames = std::min<std::uint64_t>(zone_frames / kShare, SmallMagazine::kBlocks);
  return std::max<std::uint64_t>(frames >> raw(order), 1);
}

void grow(MagazinePair& pair) { pair.limit = std::min(pair.limit * 2, pair.most); }

std::uint64_t count_of(const Magazine& magazine) { return magazine.count.load(std::memory_order_relaxed); }

}  // namespace

FrameCaches::FrameCaches(Node& node) : node_(node) {
  for (FrameCache& cache : caches_)
    for (std::size_t place = 0; place < FrameCache::kPairs; ++place) {
      const auto [loaded, previous] = cache.own(place);
      cache.pairs[place] = {loaded, previous, 0, 0};
    }
}

// The cache that this CPU stands on, now the caller's; nullptr when it has none or that is taken.
FrameCache* FrameCaches::take_here() {
  OwnerFlag& flag = flag_here();
  if (!flag.try_acquire()) return nullptr;
  FrameCache& cache = FrameCache::of(flag);
  CHECK(owns(cache));  // not another machine's
  return &cache;
}

// Preemption is on meanwhile, or a thread that was preempted with the flag in hand would never let it go.
void FrameCaches::take_patiently(FrameCache& cache) {
  while (!cache.taken.try_acquire()) platform::relax();
}

std::uint32_t FrameCaches::refill_and_take(ZoneKind kind, Order order, std::uint64_t floor) {
  const PreemptionOff stay;
  FrameCache* const cache = take_here();
  if (cache == nullptr) return kNone;
  MagazinePair& pair = cache->pairs[FrameCache::place(kind, order)];
  std::uint32_t block = kNone;
  if (count_of(*pair.loaded) == 0) std::swap(pair.loaded, pair.previous);
  Magazine& loaded = *pair.loaded;
  if (count_of(loaded) == 0 && pair.limit > 0) {
    const std::span<std::uint32_t> room(loaded.blocks(), pair.limit);
    loaded.count.store(node_.zone(kind).take_many(order, room, floor), std::memory_order_relaxed);
    grow(pair);
  }
  if (const std::uint64_t count = count_of(loaded); count > 0) {
    block = loaded.blocks()[count - 1];
    loaded.count.store(count - 1, std::memory_order_relaxed);
  }
  cache->taken.release();
  return block;
}

bool FrameCaches::make_room_and_put(ZoneKind kind, Order order, std::uint32_t block) {
  const PreemptionOff stay;
  FrameCache* const cache = take_here();
  if (cache == nullptr) return false;
  const std::size_t place = FrameCache::place(kind, order);
  MagazinePair& pair = cache->pairs[place];
  const bool in_service = pair.limit > 0;
  if (in_service) {
    if (count_of(*pair.loaded) >= pair.limit) {
      if (count_of(*pair.previous) != 0) {
        send_home(*pair.previous, place);
        grow(pair);
      }
      std::swap(pair.loaded, pair.previous);
    }
    Magazine& loaded = *pair.loaded;
    const std::uint64_t count = count_of(loaded);
    loaded.blocks()[count] = block;
    loaded.count.store(count + 1, std::memory_order_relaxed);
  }
  cache->taken.release();
  return in_service;
}

void FrameCaches::send_home(Magazine& magazine, std::size_t place) {
  const std::uint64_t count = count_of(magazine);
  CHECK(count <= FrameCache::room(order_of(place)));  // M2
  if (count == 0) return;
  node_.zone(kind_of(place)).give_many(order_of(place), {magazine.blocks(), count});
  magazine.count.store(0, std::memory_order_relaxed);
}

// Empties a cache that the caller took.
std::uint64_t FrameCaches::send_home(FrameCache& cache) {
  std::uint64_t frames = 0;
  for (std::size_t place = 0; place < FrameCache::kPairs; ++place) {
    MagazinePair& pair = cache.pairs[place];
    pair.limit = std::min<std::uint64_t>(pair.limit, kFirstLimits[place]);
    if ((count_of(*pair.loaded) | count_of(*pair.previous)) == 0) continue;
    for (Magazine* const magazine : {pair.loaded, pair.previous}) {
      frames += count_of(*magazine) << raw(order_of(place));
      send_home(*magazine, place);
    }
  }
  return frames;
}

std::uint64_t FrameCaches::drain() {
  const PreemptionOff stay;
  std::uint64_t frames = 0;
  for (FrameCache& cache : caches_) {
    if (!cache.taken.try_acquire()) continue;
    frames += send_home(cache);
    cache.taken.release();
  }
  return frames;
}

void FrameCaches::quiesce() {
  for (FrameCache& cache : caches_) {
    take_patiently(cache);
    const PreemptionOff stay;
    send_home(cache);
    cache.taken.release();
  }
  for (Zone& zone : node_.zones()) zone.count_all();
}

void FrameCaches::set_service(Service service) {
  for (FrameCache& cache : caches_) {
    take_patiently(cache);
    const PreemptionOff stay;
    for (std::size_t place = 0; place < FrameCache::kPairs; ++place) {
      MagazinePair& pair = cache.pairs[place];
      const std::uint64_t frames = node_.zone(kind_of(place)).present_frames();
      pair.most = service == Service::off ? 0 : most_for(frames, order_of(place));
      pair.limit = std::min(first_limit(order_of(place)), pair.most);
    }
    if (service == Service::off) send_home(cache);
    cache.taken.release();
  }
}

std::uint64_t FrameCaches::cached_frames() const {
  std::uint64_t frames = 0;
  for (const FrameCache& cache : caches_)
    for (std::size_t place = 0; place < FrameCache::kPairs; ++place)
      for (const Magazine* const magazine : cache.own(place))
        frames += count_of(*magazine) << raw(order_of(place));
  return frames;
}

bool FrameCaches::valid(const FrameTable& frames) const {
  for (const FrameCache& cache : caches_) {
    for (std::size_t place = 0; place < FrameCache::kPairs; ++place) {
      const MagazinePair& pair = cache.pairs[place];
      const auto own = cache.own(place);
      if (std::array<const Magazine*, 2>{pair.loaded, pair.previous} != own &&
          std::array<const Magazine*, 2>{pair.previous, pair.loaded} != own)
        return false;
      for (const Magazine* const magazine : own) {
        if (count_of(*magazine) > FrameCache::room(order_of(place))) return false;
        for (const std::uint32_t block : std::span(magazine->blocks(), count_of(*magazine))) {
          const FrameNumber number{block};
          if (!frames.has(number) || node_.kind_of(number) != kind_of(place)) return false;
          if (!frames[number].is(FrameState::cached, order_of(place))) return false;
        }
      }
    }
  }
  return true;
}

}  // namespace memory
