// FrameCaches: trips to the zones.
// SPDX-License-Identifier: MIT
//
// Theory (Bonwick and Adams, "Magazines and Vmem", USENIX 2001, section 3). A CPU with two magazines goes to the zone
// at most once in `limit` operations, whatever their order: after a trip one magazine is full and the other empty, so
// `limit` allocations or releases must come before the next. Limits grow with use and start over when a shrinker took
// the blocks away, so an idle CPU keeps little.
//
// Invariants, proved by valid():
//   M1  a cached block is in one magazine only, its first Frame `cached` with the pair's order and zone
//   M2  no magazine holds more than Magazine::kBlocks; `loaded` and `previous` are the two of its place
#include "mm/physical/magazine.hpp"

#include <algorithm>
#include <utility>

namespace memory {

namespace {

constexpr ZoneKind kind_of(unsigned place) { return static_cast<ZoneKind>(place / FrameCache::kOrders); }
constexpr Order order_of(unsigned place) {
  return Order{static_cast<std::uint8_t>(place % FrameCache::kOrders)};
}

constexpr std::uint32_t first_limit(Order order) { return 8u >> raw(order); }

// Two magazines of each CPU hold at most a 256th of a zone, and at least a block.
std::uint32_t most_for(std::uint64_t zone_frames, Order order) {
  constexpr std::uint64_t kShare = 512;
  const auto frames =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(zone_frames / kShare, Magazine::kBlocks));
  return std::max(frames >> raw(order), 1u);
}

void grow(MagazinePair& pair) { pair.limit = std::min(pair.limit * 2, pair.most); }

std::uint32_t count_of(const Magazine& magazine) { return magazine.count.load(std::memory_order_relaxed); }

}  // namespace

FrameCaches::FrameCaches(Node& node) : node_(node) {
  for (FrameCache& cache : caches_)
    for (unsigned place = 0; place < FrameCache::kPairs; ++place)
      cache.pairs[place] = {&cache.magazines[std::size_t{2} * place],
                            &cache.magazines[std::size_t{2} * place + 1], 0, 0};
}

std::uint32_t FrameCaches::refill_and_take(ZoneKind kind, Order order, std::uint64_t floor) {
  const PreemptionOff stay;
  FrameCache& cache = here();
  if (!cache.try_acquire()) return FrameCache::kNone;
  MagazinePair& pair = cache.pairs[FrameCache::place(kind, order)];
  std::uint32_t block = FrameCache::kNone;
  if (count_of(*pair.loaded) == 0) std::swap(pair.loaded, pair.previous);
  Magazine& loaded = *pair.loaded;
  if (count_of(loaded) == 0 && pair.limit > 0) {
    const std::span<std::uint32_t> room(loaded.blocks.data(), pair.limit);
    loaded.count.store(static_cast<std::uint32_t>(node_.zone(kind).take_many(order, room, floor)),
                       std::memory_order_relaxed);
    grow(pair);
  }
  if (const std::uint32_t count = count_of(loaded); count > 0) {
    block = loaded.blocks[count - 1];
    loaded.count.store(count - 1, std::memory_order_relaxed);
  }
  cache.release();
  return block;
}

bool FrameCaches::make_room_and_put(ZoneKind kind, Order order, std::uint32_t block) {
  const PreemptionOff stay;
  FrameCache& cache = here();
  if (!cache.try_acquire()) return false;
  const unsigned place = FrameCache::place(kind, order);
  MagazinePair& pair = cache.pairs[place];
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
    const std::uint32_t count = count_of(loaded);
    loaded.blocks[count] = block;
    loaded.count.store(count + 1, std::memory_order_relaxed);
  }
  cache.release();
  return in_service;
}

void FrameCaches::send_home(Magazine& magazine, unsigned place) {
  const std::uint32_t count = count_of(magazine);
  CHECK(count <= Magazine::kBlocks);  // M2
  if (count == 0) return;
  node_.zone(kind_of(place)).give_many(order_of(place), {magazine.blocks.data(), count});
  magazine.count.store(0, std::memory_order_relaxed);
}

// Empties a cache that the caller took.
std::uint64_t FrameCaches::send_home(FrameCache& cache) {
  std::uint64_t frames = 0;
  for (unsigned place = 0; place < FrameCache::kPairs; ++place) {
    MagazinePair& pair = cache.pairs[place];
    for (Magazine* const magazine : {pair.loaded, pair.previous}) {
      frames += std::uint64_t{count_of(*magazine)} << raw(order_of(place));
      send_home(*magazine, place);
    }
    pair.limit = std::min(pair.limit, first_limit(order_of(place)));
  }
  return frames;
}

std::uint64_t FrameCaches::drain() {
  const PreemptionOff stay;
  std::uint64_t frames = 0;
  for (FrameCache& cache : caches_) {
    if (!cache.try_acquire()) continue;
    frames += send_home(cache);
    cache.release();
  }
  return frames;
}

void FrameCaches::quiesce() {
  for (FrameCache& cache : caches_) {
    const PreemptionOff stay;
    while (!cache.try_acquire()) platform::relax();
    send_home(cache);
    cache.release();
  }
}

void FrameCaches::set_service(Service service) {
  for (FrameCache& cache : caches_) {
    const PreemptionOff stay;
    while (!cache.try_acquire()) platform::relax();
    for (unsigned place = 0; place < FrameCache::kPairs; ++place) {
      MagazinePair& pair = cache.pairs[place];
      const std::uint64_t frames = node_.zone(kind_of(place)).present_frames();
      pair.most = service == Service::off ? 0 : most_for(frames, order_of(place));
      pair.limit = std::min(first_limit(order_of(place)), pair.most);
    }
    if (service == Service::off) send_home(cache);
    cache.release();
  }
}

std::uint64_t FrameCaches::cached_frames() const {
  std::uint64_t frames = 0;
  for (const FrameCache& cache : caches_)
    for (unsigned n = 0; n < cache.magazines.size(); ++n)
      frames += std::uint64_t{count_of(cache.magazines[n])} << raw(order_of(n / 2));
  return frames;
}

bool FrameCaches::valid(const FrameTable& frames) const {
  for (const FrameCache& cache : caches_) {
    for (unsigned place = 0; place < FrameCache::kPairs; ++place) {
      const MagazinePair& pair = cache.pairs[place];
      const Magazine* const own = &cache.magazines[std::size_t{2} * place];
      if (std::min(pair.loaded, pair.previous) != own || std::max(pair.loaded, pair.previous) != own + 1)
        return false;
      for (const Magazine* const magazine : {pair.loaded, pair.previous}) {
        if (count_of(*magazine) > Magazine::kBlocks) return false;
        for (const std::uint32_t block : std::span(magazine->blocks.data(), count_of(*magazine))) {
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
