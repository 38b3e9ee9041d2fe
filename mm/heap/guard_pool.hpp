// GuardPool: a few objects of all caches, each alone in a page between two pages that nobody may touch.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "mm/base/list.hpp"
#include "mm/base/sync.hpp"
#include "mm/heap/slab.hpp"

namespace memory {

class FrameHider;
class KmemCache;

// Whether there can be one: a guarded profile has more than a sample.
inline constexpr bool kHasGuardPool = !config::debug_slab && !config::init_on_alloc && !config::init_on_free;

// One object's record: that of a slab of one object, which has a track whatever the profile. Standard layout.
struct GuardSlot {
  Slab slab;  // `taken`: 1 while it is somebody's; `head`: the frame of its page
  std::array<std::uint8_t, Slab::states_bytes(1)> states;
  std::array<std::uint64_t, Slab::words_for(1)> free_bits;
  ObjectTrack track;
};
static_assert(offsetof(GuardSlot, track) == sizeof(Slab) + Slab::states_bytes(1) + 8 * Slab::words_for(1));

// What an outside reader follows to the slots. Standard layout; immutable after start(), but for what is atomic.
struct GuardPoolRecord {
  GuardSlot* slots = nullptr;
  std::uint32_t count = 0;  // of slots; 0: there is no pool
  std::uint32_t first =
      0;  // frame number of the pages: slot n has `first` + 2 n + 1, between two guard pages
  std::uint32_t every = 0;             // of so many slow allocations one comes from here
  std::atomic<std::uint32_t> left{0};  // [a] until the next
};

// The idea is KFENCE's (Linux, Documentation/dev-tools/kfence.rst): of the allocations that leave a cache's fast path one in
// many is served from here, in every profile, at no cost for the others. An access before or behind such an object's page
// and any access after its release fault at the guilty instruction; a write into its page near it is found when it is
// released. A released page waits until all others have been used.
//
// The page of a free slot is hidden from the direct map, as are the guard pages for good, by a hider that tells no other
// CPU: what one of them still remembers it may still use.
class GuardPool {
 public:
  static constexpr std::uint32_t kMostSlots = 63;
  // Bytes of its page on either side of an object that are looked at when it is released.
  static constexpr std::size_t kZone = 256;
  // One slot for so much memory: the pool takes a thousandth and a half of a machine, or less.
  static constexpr std::uint64_t kBytesForSlot = 8_MiB;

  static std::uint32_t slots_for(std::uint64_t memory_bytes);  // 0: too little memory for a pool
  // Frames in a row for so many.
  static std::uint32_t frames_for(std::uint32_t slots) { return record_frames(slots) + pages(slots); }

  GuardPool() = default;
  GuardPool(const GuardPool&) = delete;
  GuardPool& operator=(const GuardPool&) = delete;

  // Takes service up with `slots` slots in frames_for(slots) reserved frames from `first` on, which are its own and directly
  // mapped by single pages. Of `every` slow allocations one is served; 0: none. `frames` and `hider` outlive this. Once, while one CPU runs.
  void start(const FrameTable& frames, FrameHider& hider, FrameNumber first, std::uint32_t slots,
             std::uint32_t every);

  // Whether an allocation that comes now is to be served from here: called once for each that leaves the fast path.
  bool is_due() {
    if (record_.every == 0) return false;
    const std::uint32_t left = record_.left.load(std::memory_order_relaxed);  // CPUs that meet here count one
    record_.left.store(left > 1 ? left - 1 : record_.every, std::memory_order_relaxed);
    return left <= 1;
  }

  // An object of `cache` for `requested` bytes, whose contents are undefined; null when all slots are taken. `site`: who asked.
  // Preconditions: requested <= the cache's object_bytes <= kPageSize; the cache has no constructor.
  void* take(KmemCache& cache, std::uint32_t requested, std::uint64_t site);
  // Takes back what take() gave. Fails, and nothing changed, as misuse_of() says, and with double_free when it is free.
  // `site`: who asked.
  Error give(Slab& slab, std::uint64_t site);

  // The objects of that cache that are somebody's, as many as `some` has room for; how many there are.
  std::uint64_t live_objects(const KmemCache& cache, std::span<const void*> some) const;
  // Nothing here names the cache from now on. Precondition: it has no live objects.
  void forget(const KmemCache& cache);

  // The first byte around that object that somebody wrote to, null where there is none; and as a misuse: overflow, underflow
  // or ok. Precondition: it is allocated.
  static const std::uint8_t* damage_of(const Slab& slab);
  static Error misuse_of(const Slab& slab);
  // The slot whose object an access at `address` was meant for, most likely, when it met a page of the pool: its own page's, or
  // of a guard page the nearer neighbour's. Null where no slot was ever used, or the address is none of the pool's. Takes
  // no lock.
  const Slab* slot_meant(std::uint64_t address) const;

  const GuardPoolRecord& record() const { return record_; }
  // Proves E1 and E2 of guard_pool.cpp. Precondition: nobody allocates.
  bool valid() const;

 private:
  static std::uint32_t record_frames(std::uint32_t slots);
  static std::uint32_t pages(std::uint32_t slots) { return 2 * slots + 1; }

  using FreeSlots = List<Slab, offsetof(Slab, node)>;  // the one that was released first comes first

  std::span<GuardSlot> slots() const { return {record_.slots, record_.count}; }
  FrameNumber page_at(std::uint64_t number) const {
    return FrameNumber{record_.first + static_cast<std::uint32_t>(number)};
  }
  const GuardSlot* slot(std::uint64_t number) const;
  bool slot_valid(std::size_t number) const;

  const FrameTable* frames_ = nullptr;
  FrameHider* hider_ = nullptr;
  GuardPoolRecord record_;
  mutable Guarded<FreeSlots, IrqSpin<Rank::depot>> free_;
};

}  // namespace memory
