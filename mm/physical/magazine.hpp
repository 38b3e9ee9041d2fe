// FrameCaches: each CPU's magazines of free blocks, in front of the zones. The common request takes no lock.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "mm/physical/node.hpp"

namespace memory {

// A stack of free blocks of one order and zone. It begins either of the two below, which have the room.
struct Magazine {
  // [a] so that levels can be read meanwhile; changed by the cache's holder only
  std::atomic<std::uint64_t> count;

  // Frame numbers of their first frames, which are `cached`.
  std::uint32_t* blocks() { return reinterpret_cast<std::uint32_t*>(this + 1); }
  const std::uint32_t* blocks() const { return reinterpret_cast<const std::uint32_t*>(this + 1); }
};

struct SmallMagazine {
  static constexpr std::uint32_t kBlocks = 126;
  Magazine head;
  std::array<std::uint32_t, kBlocks> blocks;
};
static_assert(sizeof(SmallMagazine) == 512 && std::is_standard_layout_v<SmallMagazine>);
static_assert(offsetof(SmallMagazine, blocks) == sizeof(Magazine));

// Of blocks so large that a CPU keeps one of them.
struct LargeMagazine {
  static constexpr std::uint32_t kBlocks = 2;
  Magazine head;
  std::array<std::uint32_t, kBlocks> blocks;
};
static_assert(sizeof(LargeMagazine) == 16 && std::is_standard_layout_v<LargeMagazine>);
static_assert(offsetof(LargeMagazine, blocks) == sizeof(Magazine));

// What a CPU has of one order and zone: allocations and releases work on `loaded`; when it is empty or full the two
// change places, and only when that does not help a whole magazine is fetched from the zone or sent home.
struct alignas(32) MagazinePair {
  Magazine* loaded;
  Magazine* previous;
  std::uint64_t limit;  // blocks that each may hold now: doubles with every trip, starts over after a drain
  std::uint64_t most;   // what limit may grow to; 0 switches the pair off
};

// One CPU's magazines. Standard layout. All but `taken` belongs to whoever took the cache; who finds it taken does
// without.
struct FrameCache {
  static constexpr unsigned kSmallOrders = 4;
  static constexpr unsigned kSmallPairs = kSmallOrders * kZoneKinds;
  static constexpr unsigned kPairs = (raw(kMaxOrder) + 1) * kZoneKinds;

  OwnerFlag taken;
  std::array<MagazinePair, kPairs> pairs;  // by order, then zone
  // Two for each pair: those of orders 0-3, and those of the others.
  alignas(64) std::array<SmallMagazine, std::size_t{2} * kSmallPairs> small;
  std::array<LargeMagazine, std::size_t{2} * (kPairs - kSmallPairs)> large;

  static constexpr bool is_small(Order order) { return raw(order) < kSmallOrders; }
  // How many blocks a magazine of that order has room for.
  static constexpr std::uint32_t room(Order order) {
    return is_small(order) ? SmallMagazine::kBlocks : LargeMagazine::kBlocks;
  }
  // Which pair is of that zone and order, and back. Precondition: order <= kMaxOrder. The order is mostly known where
  // it is asked for, and then only the zone is computed.
  static constexpr std::size_t place(ZoneKind kind, Order order) { return place_of(raw(kind) + 1, order); }
  // The same for what FrameTable::zone_place() said, which is not 0. (So written the 1 costs nothing.)
  static constexpr std::size_t place_of(std::size_t zone_place, Order order) {
    return std::size_t{raw(order)} * kZoneKinds + zone_place - 1;
  }
  static constexpr ZoneKind kind_of(std::size_t place) { return static_cast<ZoneKind>(place % kZoneKinds); }
  static constexpr Order order_of(std::size_t place) {
    return Order{static_cast<std::uint8_t>(place / kZoneKinds)};
  }
  // The two magazines of a place.
  std::array<Magazine*, 2> own(std::size_t place) {
    if (place < kSmallPairs) return {&small[2 * place].head, &small[2 * place + 1].head};
    const std::size_t first = 2 * (place - kSmallPairs);
    return {&large[first].head, &large[first + 1].head};
  }
  std::array<const Magazine*, 2> own(std::size_t place) const {
    const auto [first, second] = const_cast<FrameCache*>(this)->own(place);
    return {first, second};
  }

  // The cache whose flag the caller took.
  static FrameCache& of(OwnerFlag& taken) { return reinterpret_cast<FrameCache&>(taken); }
};
static_assert(std::is_standard_layout_v<FrameCache> && offsetof(FrameCache, taken) == 0,
              "a cache is found by its flag");

// The caches of all CPUs. Owns the blocks in them until they go home.
class FrameCaches {
 public:
  explicit FrameCaches(Node& node);
  FrameCaches(const FrameCaches&) = delete;
  FrameCaches& operator=(const FrameCaches&) = delete;

  static constexpr std::uint32_t kNone = 0xffff'ffff;

  // From now on that CPU keeps its blocks here. Precondition: it runs nothing that allocates meanwhile; its number is
  // below config::max_cpus and no other's.
  void serve(PerCpu& cpu) { cpu.frame_cache = &caches_[cpu.number].taken; }

  // Precondition for all four: order <= kMaxOrder, and the CPU that this runs on is of the caches' machine.
  //
  // Takes a block off this CPU's loaded magazine; false when there is none at hand.
  //
  // Preemption stays on. Whoever is moved to another CPU half way works on with the cache of the first, which the flag
  // keeps for him; whoever comes there meanwhile finds it taken.
  [[gnu::always_inline]] bool take(ZoneKind kind, Order order, std::uint32_t& block) {
    OwnerFlag& flag = flag_here();
    if (!flag.try_acquire()) [[unlikely]]
      return false;
    FrameCache& cache = FrameCache::of(flag);
    DCHECK(owns(cache));
    Magazine& loaded = *cache.pairs[FrameCache::place(kind, order)].loaded;
    const std::uint64_t last = loaded.count.load(std::memory_order_relaxed) - 1;
    if (last >= SmallMagazine::kBlocks) [[unlikely]] {
      flag.release();
      return false;
    }
    block = loaded.blocks()[last];
    loaded.count.store(last, std::memory_order_relaxed);
    flag.release();
    return true;
  }
  // The same after a failure: out of the previous magazine, or of a fresh one from the zone, which keeps `floor` frames.
  // kNone when there is none, or the cache is taken or switched off.
  std::uint32_t refill_and_take(ZoneKind kind, Order order, std::uint64_t floor);
  // Keeps a block, state `cached`, for this CPU; false when there is no room at hand.
  [[gnu::always_inline]] bool put(std::size_t zone_place, Order order, std::uint32_t block) {
    OwnerFlag& flag = flag_here();
    if (!flag.try_acquire()) [[unlikely]]
      return false;
    FrameCache& cache = FrameCache::of(flag);
    DCHECK(owns(cache));
    MagazinePair& pair = cache.pairs[FrameCache::place_of(zone_place, order)];
    Magazine& loaded = *pair.loaded;
    const std::uint64_t count = loaded.count.load(std::memory_order_relaxed);
    if (count >= pair.limit) [[unlikely]] {
      flag.release();
      return false;
    }
    loaded.blocks()[count] = block;
    loaded.count.store(count + 1, std::memory_order_relaxed);
    flag.release();
    return true;
  }
  // The same after a failure: sends a magazine home for it. False when the cache is taken or switched off.
  bool make_room_and_put(ZoneKind kind, Order order, std::uint32_t block);

  // Sends home what the caches hold, but for those that are taken just now; how many frames that were. Never waits.
  std::uint64_t drain();
  // Sends home everything, waiting for those that are taken, and lets the zones count what they left uncounted.
  // Precondition, here and below: this CPU holds none and preemption is on (no interrupt handler, no spin lock).
  void quiesce();

  // How large magazines may become. `on` after memory came into service, too: a small zone gets small ones.
  enum class Service : std::uint8_t { on, off };
  void set_service(Service service);

  // Frames in all magazines. Racy by design: exact when the CPUs stand still.
  std::uint64_t cached_frames() const;

  // Every cached block is `cached` with its order, in its zone. Precondition: nobody allocates.
  bool valid(const FrameTable& frames) const;

  // For outside readers.
  std::span<const FrameCache, config::max_cpus> all() const { return caches_; }

 private:
  static OwnerFlag& flag_here() {
    return *static_cast<OwnerFlag*>(platform::percpu_pointer(offsetof(PerCpu, frame_cache)));
  }
  bool owns(const FrameCache& cache) const { return &caches_.front() <= &cache && &cache <= &caches_.back(); }
  FrameCache* take_here();
  static void take_patiently(FrameCache& cache);
  std::uint64_t send_home(FrameCache& cache);
  void send_home(Magazine& magazine, std::size_t place);

  Node& node_;
  std::array<FrameCache, config::max_cpus> caches_{};
};

}  // namespace memory
