// Physical: all memory in frames; the frame array, the node's zones, and the CPUs' caches in front of them.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/fail.hpp"
#include "mm/physical/early.hpp"
#include "mm/physical/magazine.hpp"
#include "mm/stats/stats.hpp"

namespace memory {

class Inspector;

// What meminfo reports, in frames.
struct PhysicalLevels {
  std::uint64_t present;   // memory that the frame array describes
  std::uint64_t managed;   // given to the frame allocator
  std::uint64_t free;      // in the zones and in the caches
  std::uint64_t cached;    // of these, in the caches
  std::uint64_t reserved;  // present, never handed out
};

// What an outside reader follows from the manager. Standard layout. The last three are exact, where the counters of the
// same names only report: a reader compares the two.
struct PhysicalRecord {
  const FrameMap* frames = nullptr;
  std::uint64_t nodes = 0;
  std::array<const NodeRecord*, 1> node{};
  const FrameCache* caches = nullptr;
  std::uint64_t cache_count = 0;
  std::uint64_t early_frames = 0;            // that the early allocator gave out for good
  std::atomic<std::uint64_t> additions = 0;  // how often memory was added since
  std::atomic<std::uint64_t> failures = 0;
  std::atomic<std::uint64_t> misuses = 0;
  std::atomic<std::uint64_t> poisoned_frames = 0;
};

// Makes the storage behind frames appear. Declared here, implemented where page tables are, and where none are needed.
class StorageMapper {
 public:
  // Maps cleared storage for the Frames and Pageblocks of `memory` where there is none yet, and the direct map of the
  // part of it that lies below `direct_end`. Takes every frame that this needs from the start of `memory`, so that it
  // works when nothing else is free; returns how many frames that were. Fails with invalid when `memory` is too small
  // for that, too_big when there is no room to describe it; then nothing has changed.
  virtual Result<std::size_t> map(PhysRange memory, PhysAddr direct_end) = 0;

 protected:
  ~StorageMapper() = default;
};

// Unmaps directly mapped frames that are nobody's, and maps them again (config::debug_pagealloc). Declared here,
// implemented where page tables are; without one frames stay mapped.
class FrameHider {
 public:
  // Of each frame of the block that the direct map holds; what is hidden or shown already stays so. Called with whatever
  // locks a caller of allocate() or release() holds, interrupts on or off. Other CPUs may see a hidden frame until they
  // forget its translation: nobody waits for them.
  virtual void hide(FrameNumber first, Order order) = 0;
  virtual void show(FrameNumber first, Order order) = 0;

 protected:
  ~FrameHider() = default;
};

// Who keeps frames that nobody needs. Declared here, implemented by the floors above that keep some.
class FrameReclaimer {
 public:
  // Gives back what it can spare without waiting; how many frames that were. Called with whatever locks the caller of
  // allocate() holds, all of them above rank cache; allocates nothing.
  virtual std::uint64_t reclaim() = 0;

 protected:
  ~FrameReclaimer() = default;
};

class Physical {
 public:
  // Both windows and the direct map as FrameTable has them.
  Physical(Frame* frames, Pageblock* blocks, std::byte* direct_map, PhysAddr direct_end);

  // Describes all available memory of `info`, then takes over what `early` has left. Once.
  void start(const BootInfo& info, EarlyAllocator& early);

  // Returns the first frame of a naturally aligned block of 2^order frames: state allocated, its order, references 1.
  // Its contents are what they were; with config::poison_frames it panics when a freed frame was written to. Fails with
  // no_memory when no zone that `flags` allow has such a block above its watermark, not even after the caches were
  // drained; invalid when order > kMaxOrder. From any CPU and from interrupt handlers. Precondition: valid(flags).
  //
  // This and release() inline where they are called, with what seldom happens a call away: the order is known there
  // nearly always, and the call would cost as much as the work.
  [[gnu::always_inline]] Result<FrameNumber> allocate(Order order, Gfp flags = Gfp::kernel) {
    std::uint32_t block;
    if (order > kMaxOrder || !caches_.take(node_.first_zone(flags), order, block)) [[unlikely]]
      return allocate_slowly(order, flags);
    return hand_out(FrameNumber{block}, order);
  }

  // Takes a block back. Fails with the misuse error that fits, and nothing changed, when `number` is not the first frame
  // of an allocated block of that order, or when somebody else refers to it. Panics when the bits and the Frame
  // contradict each other. (Two CPUs that release one block at the same instant may both pass: then the block's state
  // stops the machine when it is handed out or goes home.)
  [[gnu::always_inline]] Result<void> release(FrameNumber number, Order order) {
    const std::size_t zone = frames_.zone_place(number);
    if (zone == 0) [[unlikely]]
      return refuse(number, order);
    Frame& frame = frames_[number];
    if (!frame.is(FrameState::allocated, order) || !frame.is_unshared()) [[unlikely]]
      return refuse(number, order);
    take_back(frame, number, order);
    if (order > kMaxOrder || !caches_.put(zone, order, raw(number))) [[unlikely]]
      release_slowly(number, order);
    return {};
  }

  // Puts `memory` into service while the machine runs; its first frames hold what describes it, and stay reserved. Fails
  // as FrameTable::addable and StorageMapper::map do; then nothing has changed. Not from interrupt handlers.
  Result<void> add_memory(PhysRange memory, StorageMapper& storage);

  // Sends home what the caches hold. drain() leaves out those that are in use and never waits; after quiesce(), and
  // while nobody allocates, levels, counters and a walk agree to the frame.
  std::uint64_t drain() { return caches_.drain(); }
  void quiesce() { caches_.quiesce(); }

  // Asked when a request would fail. Once, before anybody allocates; it outlives whoever does.
  void set_reclaimer(FrameReclaimer& reclaimer) { reclaimer_ = &reclaimer; }
  // Who hides what is free from now on, with config::debug_pagealloc. What is free already stays to be seen. Once; it
  // outlives this.
  void set_hider(FrameHider& hider) { hider_ = &hider; }

  // The n-th allocation from now on fails; 0 disarms. While a plan is armed the caches are out of service, so every
  // request comes by the place that can fail.
  void fail_nth(std::uint64_t n);
  // Whether the caches serve at all; tests of what lies behind them switch them off.
  void set_caching(FrameCaches::Service service);
  const FailPlan& fail_plan() const { return fail_plan_; }
  FailPlan& fail_plan() { return fail_plan_; }
  // Whether an allocation at a site of a higher floor is to fail now.
  bool strikes(FailSite site) { return fail_plan_.strikes(site); }

  FrameTable& frames() { return frames_; }
  const FrameTable& frames() const { return frames_; }
  Node& node() { return node_; }
  const Node& node() const { return node_; }
  Zone& zone(ZoneKind kind) { return node_.zone(kind); }
  const Zone& zone(ZoneKind kind) const { return node_.zone(kind); }
  // From now on that CPU has a cache. As FrameCaches::serve.
  void serve(PerCpu& cpu) { caches_.serve(cpu); }
  FrameCaches& caches() { return caches_; }
  const FrameCaches& caches() const { return caches_; }

  const PhysicalRecord& record() const { return record_; }

  PhysicalLevels levels() const;
  // Over all zones, without the caches.
  ZoneLevels zone_levels() const;
  std::array<std::uint64_t, config::max_order + 1> free_blocks() const;

  // Proves every invariant of this floor. Precondition: nobody allocates. O(frames).
  bool valid() const;

  // The values of /proc/meminfo, /proc/buddyinfo and /proc/zoneinfo, as far as this floor has them.
  void describe_meminfo(Inspector& to) const;
  void describe_buddyinfo(Inspector& to) const;
  void describe_zoneinfo(Inspector& to) const;
  // How broken up the free memory of each zone is, for each order.
  void describe_fragmentation(Inspector& to) const;
  // The Frames of [first, first + count) that are present.
  void describe_frames(Inspector& to, FrameNumber first, std::size_t count) const;

 private:
  void make_present(PhysRange memory);
  void donate(PhysRange memory);
  FrameNumber hand_out(FrameNumber number, Order order);
  void take_back(Frame& frame, FrameNumber number, Order order);
  void serve_from_caches();
  Result<FrameNumber> allocate_slowly(Order order, Gfp flags);
  std::uint32_t take_from_zones(Order order, Gfp flags);
  void release_slowly(FrameNumber number, Order order);
  Error refuse(FrameNumber number, Order order);
  void verify_poison(FrameNumber number, Order order);
  void poison(FrameNumber number, Order order);

  FrameTable frames_;
  Node node_;
  FrameCaches caches_;
  FrameCaches::Service caching_ = FrameCaches::Service::on;
  FailPlan fail_plan_;
  FrameReclaimer* reclaimer_ = nullptr;  // [I]
  FrameHider* hider_ = nullptr;          // [I] null on the host, where ASan looks after freed frames
  Mutex<Rank::range> adding_;            // one at a time
  PhysicalRecord record_;
};

[[gnu::always_inline]] inline FrameNumber Physical::hand_out(FrameNumber number, Order order) {
  Frame& frame = frames_[number];
  CHECK(frame.is(FrameState::cached, order));  // M1: nobody else has it
  if constexpr (config::debug_pagealloc)
    if (hider_ != nullptr) hider_->show(number, order);
  if constexpr (config::poison_frames) verify_poison(number, order);
  frame.set(FrameState::allocated, order);
  frame.uses.store(Frame::kReference, std::memory_order_relaxed);
  stats::add(stats::Counter::frame_allocations);
  return number;
}

[[gnu::always_inline]] inline void Physical::take_back(Frame& frame, FrameNumber number, Order order) {
  if constexpr (config::poison_frames) poison(number, order);
  if constexpr (config::debug_pagealloc)
    if (hider_ != nullptr) hider_->hide(number, order);
  frame.uses.store(0, std::memory_order_relaxed);
  frame.tag.store(0, std::memory_order_relaxed);
  frame.set(FrameState::cached, order);
  stats::add(stats::Counter::frame_releases);
}

}  // namespace memory
