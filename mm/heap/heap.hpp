// Heap: the floor of objects put together: every cache by its number, and the caches that caches need.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <span>

#include "mm/heap/call_tracer.hpp"
#include "mm/heap/guard_pool.hpp"
#include "mm/heap/idle_gauge.hpp"
#include "mm/heap/kmem_cache.hpp"
#include "mm/heap/misuse_report.hpp"
#include "mm/physical/physical.hpp"

namespace memory {

// What an outside reader follows to the caches. Standard layout. `caches` is indexed by number; 0 stays empty.
struct HeapRecord {
  std::array<std::atomic<const CacheRecord*>, kCacheSlots> caches{};  // [a]
  const GuardPoolRecord* guards = nullptr;
};

class Heap final : private FrameReclaimer {
 public:
  static constexpr unsigned kMaxCaches = kCacheSlots - 1;

  // `physical` and `cpus` outlive it. Takes no memory.
  Heap(Physical& physical, std::span<PerCpu* const> cpus);
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // After memory came into service: the caches learn where most of their objects will be. Once.
  void start();

  Physical& physical() { return physical_; }
  const Physical& physical() const { return physical_; }
  std::span<PerCpu* const> cpus() const { return cpus_; }
  // As MemoryManager::set_cpus.
  void set_cpus(std::span<PerCpu* const> cpus) { cpus_ = cpus; }

  // A cache in memory of the heap's own. Fails as KmemCache::check() does; with no_memory; with too_big when kMaxCaches
  // exist.
  Result<KmemCache*> create(const CacheShape& shape);
  // Ends a cache that create() made. Fails, and nothing changed, with busy while objects of it are allocated (its
  // live_objects), with not_found when create() did not make it. Precondition: as KmemCache::retire().
  Result<void> destroy(KmemCache& cache);

  // The cache of that number, or null.
  KmemCache* cache(unsigned number) const { return caches_[number].load(std::memory_order_acquire); }
  // The cache of that number, if create() made it, or null.
  KmemCache* made(unsigned number) const;
  // The cache at that address, whatever it is, if create() made it, or null. O(1).
  KmemCache* made_at(void* address) const;
  // The slab of any cache in whose frames `address` lies, or null.
  const Slab* slab_at(const void* address) const { return magazines_.slab_at(address); }
  // Calls body(KmemCache&) for each, by number. Those that come or go meanwhile are met or not.
  template <typename Body>
  void for_each(Body&& body) const {
    for (unsigned number = 1; number < kCacheSlots; ++number)
      if (KmemCache* const found = cache(number)) body(*found);
  }

  // As KmemCache's, for all of them.
  std::uint64_t shrink();
  void quiesce();

  // What the caches' slow paths count, and ask.
  IdleGauge& idle() { return idle_; }
  // When much lies idle that was in use a while ago, all caches give back what nobody waits for. Called with no slot
  // taken; as free of waiting as shrink().
  void trim_if_idle();

  // Where slow allocations are sampled, once the home has started it.
  GuardPool& guards() { return guards_; }
  const GuardPool& guards() const { return guards_; }

  // Whether magazines serve: they do not while a failure is planned, so that every request comes by the place that can
  // fail. As FrameCaches::set_service.
  void set_service(FrameCaches::Service service);
  bool serving() const { return serving_.load(std::memory_order_relaxed); }
  // Whether an allocation of an object is to fail now.
  bool strikes() { return physical_.strikes(FailSite::cache_object); }

  // Who is told of damage that no caller is to blame for. Outlives this.
  void set_witness(MisuseWitness& witness) { witness_ = &witness; }
  MisuseWitness* witness() const { return witness_; }

  // Who knows the calls that lead to an allocation, with config::debug_kmemleak. Outlives this; once.
  void set_tracer(const CallTracer& tracer) { tracer_ = &tracer; }
  // Writes down the calls that led to the one of that track.
  void trace(ObjectTrack& track) const {
    if (tracer_ != nullptr) trace_callers(*tracer_, track);
  }

  bool valid() const;
  const HeapRecord& record() const { return record_; }
  void describe_slabinfo(Inspector& to) const;

  // Whether that is one of the machine's CPUs, whose slots may hold a magazine.
  bool has_cpu(const PerCpu& cpu) const { return cpu.number < cpus_.size() && cpus_[cpu.number] == &cpu; }

  KmemCache& magazines() { return magazines_; }
  // The cache whose objects have room for the record of a slab of `objects` objects.
  KmemCache& records_for(std::uint32_t objects);

 private:
  friend class KmemCache;
  std::uint64_t reclaim() override { return shrink(); }

  // Gives a cache a number, from 1 on; 0 when all are in use.
  unsigned enlist(KmemCache& cache, const CacheRecord& record);
  void delist(unsigned number);

  static constexpr std::array<std::uint32_t, 4> kRecordObjects{28, 64, SlabCut::kMaxObjects / 2,
                                                               SlabCut::kMaxObjects};

  Physical& physical_;
  std::span<PerCpu* const> cpus_;
  MisuseWitness* witness_ = nullptr;    // [I]
  const CallTracer* tracer_ = nullptr;  // [I]
  IdleGauge idle_;                      // [a]
  GuardPool guards_;
  std::atomic<bool> trimming_{false};                          // [a] one CPU at a time
  std::atomic<bool> serving_{true};                            // [a]
  ObjectWindow window_;                                        // [I] after start()
  std::array<std::atomic<KmemCache*>, kCacheSlots> caches_{};  // [a]
  HeapRecord record_;
  KmemCache magazines_;
  KmemCache made_caches_;  // what create() returns
  Mutex<Rank::heap> making_;
  std::array<KmemCache, kRecordObjects.size()> slab_records_;
};

}  // namespace memory
