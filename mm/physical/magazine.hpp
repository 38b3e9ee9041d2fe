// FrameCaches: each CPU's magazines of free blocks, in front of the zones. The common request takes no lock.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

#include "mm/physical/node.hpp"

namespace memory {

// A stack of free blocks of one order and zone: frame numbers of their first frames, which are `cached`.
struct Magazine {
  static constexpr std::uint32_t kBlocks = 63;

  std::atomic<std::uint32_t>
      count;  // [a] so that levels can be read meanwhile; changed by the cache's holder only
  std::array<std::uint32_t, kBlocks> blocks;
};
static_assert(sizeof(Magazine) == 256);

// What a CPU has of one order and zone: allocations and releases work on `loaded`; when it is empty or full the two
// change places, and only when that does not help a whole magazine is fetched from the zone or sent home.
struct alignas(32) MagazinePair {
  Magazine* loaded;
  Magazine* previous;
  std::uint32_t
      limit;  // blocks that each may hold now: doubles with every trip to the zone, starts over after a drain
  std::uint32_t most;  // what limit may grow to; 0 switches the pair off
};

// One CPU's magazines. Standard layout. All but `taken` belongs to whoever took the cache: taken is exchanged for 1
// (acquire) and set to 0 again (release), so another CPU, a test or a shrinker can drain it and sees what was written;
// who finds it taken does without. It is no lock: nobody waits for it with another lock in hand.
struct FrameCache {
  static constexpr unsigned kOrders = 4;  // orders 0-3
  static constexpr unsigned kPairs = kZoneKinds * kOrders;
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  std::atomic<std::uint32_t> taken;  // [a]
  std::array<MagazinePair, kPairs> pairs;
  alignas(64) std::array<Magazine, std::size_t{2} * kPairs> magazines;

  bool try_acquire() { return taken.exchange(1, std::memory_order_acquire) == 0; }
  void release() { taken.store(0, std::memory_order_release); }

  static constexpr unsigned place(ZoneKind kind, Order order) { return raw(kind) * kOrders + raw(order); }

  // A block off the loaded magazine, or kNone when it is empty or the cache is taken.
  [[gnu::always_inline]] std::uint32_t take(unsigned place) {
    if (!try_acquire()) [[unlikely]]
      return kNone;
    Magazine& loaded = *pairs[place].loaded;
    const std::uint32_t last = loaded.count.load(std::memory_order_relaxed) - 1;
    std::uint32_t block = kNone;
    if (last < Magazine::kBlocks) [[likely]] {
      block = loaded.blocks[last];
      loaded.count.store(last, std::memory_order_relaxed);
    }
    release();
    return block;
  }

  // Puts a block onto the loaded magazine; false when that is full or the cache is taken.
  [[gnu::always_inline]] bool put(unsigned place, std::uint32_t block) {
    if (!try_acquire()) [[unlikely]]
      return false;
    MagazinePair& pair = pairs[place];
    Magazine& loaded = *pair.loaded;
    const std::uint32_t count = loaded.count.load(std::memory_order_relaxed);
    const bool fits = count < pair.limit;
    if (fits) [[likely]] {
      loaded.blocks[count] = block;
      loaded.count.store(count + 1, std::memory_order_relaxed);
    }
    release();
    return fits;
  }
};

// The caches of all CPUs. Owns the blocks in them until they go home.
class FrameCaches {
 public:
  explicit FrameCaches(Node& node);
  FrameCaches(const FrameCaches&) = delete;
  FrameCaches& operator=(const FrameCaches&) = delete;

  static constexpr bool caches(Order order) { return raw(order) < FrameCache::kOrders; }

  // Precondition for all three: caches(order).
  // A block of this CPU's loaded magazine; kNone when there is none at hand.
  [[gnu::always_inline]] std::uint32_t take(ZoneKind kind, Order order) {
    const PreemptionOff stay;
    return here().take(FrameCache::place(kind, order));
  }
  // The same after a failure: out of the previous magazine, or of a fresh one from the zone, which keeps `floor` frames.
  std::uint32_t refill_and_take(ZoneKind kind, Order order, std::uint64_t floor);
  // Keeps a block, state `cached`, for this CPU; false when there is no room at hand.
  [[gnu::always_inline]] bool put(ZoneKind kind, Order order, std::uint32_t block) {
    const PreemptionOff stay;
    return here().put(FrameCache::place(kind, order), block);
  }
  // The same after a failure: sends a magazine home for it. False when the cache is taken or switched off.
  bool make_room_and_put(ZoneKind kind, Order order, std::uint32_t block);

  // Sends home what the caches hold, but for those that are taken just now; how many frames that were. Never waits.
  std::uint64_t drain();
  // Sends home everything, waiting for those that are taken. Precondition: this CPU holds none (no interrupt handler).
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
  FrameCache& here() { return caches_[platform::percpu().number]; }
  std::uint64_t send_home(FrameCache& cache);
  void send_home(Magazine& magazine, unsigned place);

  Node& node_;
  std::array<FrameCache, config::max_cpus> caches_{};
};

}  // namespace memory
