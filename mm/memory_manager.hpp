// MemoryManager: all floors of mm/ put together. memory_manager.cpp holds the only globals of mm/.
// SPDX-License-Identifier: MIT
#pragma once
#include <optional>
#include <span>

#include "mm/heap/frame_source.hpp"
#include "mm/heap/heap.hpp"
#include "mm/heap/kernel_heap.hpp"
#include "mm/heap/kmalloc.hpp"
#include "mm/heap/leak_scan.hpp"
#include "mm/heap/misuse_report.hpp"
#include "mm/physical/physical.hpp"
#include "mm/stats/record.hpp"
#include "mm/stats/stats.hpp"
#include "mm/virtual/boot_map.hpp"
#include "mm/virtual/kernel_addresses.hpp"
#include "mm/virtual/page_directories.hpp"

namespace memory {

// What the face does with a release that breaks its contract. The floors below only detect it.
enum class MisusePolicy : std::uint8_t {
  panic,   // stop: the caller is broken
  refuse,  // return the error; nothing changed
};

// What an outside reader finds at Record::manager. Standard layout; immutable after boot.
struct ManagerRecord {
  const PhysicalRecord* physical = nullptr;
  const HeapRecord* heap = nullptr;
  const HeapState* kernel_heap = nullptr;
  const void* home = nullptr;            // what the home has of its own, as its rows say; null: nothing
  const RangesRecord* ranges = nullptr;  // null: no kernel addresses are handed out
  const MisuseReport* misuse = nullptr;  // the last of the heap; changes under a lock of the manager
};

class MemoryManager final : private MisuseWitness {
 public:
  // Where the arrays that describe memory are, as FrameTable has them.
  struct Storage {
    Frame* frames;
    Pageblock* blocks;
    std::byte* direct_map;
    PhysAddr direct_end;
  };

  // `cpus` and `record`, whose tables of types are filled, outlive the manager, as does `home`: what outside readers
  // find of the home's own.
  MemoryManager(const Storage& storage, std::span<PerCpu* const> cpus, stats::Record& record,
                MisusePolicy on_misuse, const void* home = nullptr);

  // Takes over all memory: describes it, donates what `early` has left. Once.
  void start(const BootInfo& info, EarlyAllocator& early) {
    for (PerCpu* const cpu : cpus_) physical_.serve(*cpu);
    physical_.start(info, early);
    heap_.start();
  }

  Physical& physical() { return physical_; }
  const Physical& physical() const { return physical_; }
  Heap& heap() { return heap_; }
  const Heap& heap() const { return heap_; }
  Kmalloc& kmalloc() { return kmalloc_; }
  const Kmalloc& kmalloc() const { return kmalloc_; }
  KernelHeap& kernel_heap() { return kernel_heap_; }
  const KernelHeap& kernel_heap() const { return kernel_heap_; }
  PageDirectories& directories() { return directories_; }
  const PageDirectories& directories() const { return directories_; }

  // Hands out kernel addresses from now on, mapped in `tables`, which outlive this. Once, after start().
  void start_addresses(PageTables& tables);
  // Precondition: start_addresses() was called.
  KernelAddresses& addresses() {
    DCHECK(addresses_.has_value());
    return *addresses_;  // NOLINT(bugprone-unchecked-optional-access): the precondition
  }
  const KernelAddresses& addresses() const {
    DCHECK(addresses_.has_value());
    return *addresses_;  // NOLINT(bugprone-unchecked-optional-access): the precondition
  }
  bool has_addresses() const { return addresses_.has_value(); }

  // The face of kernel addresses: as Vmalloc's, but a misuse is met with the policy.
  Result<VirtAddr> vmalloc(std::uint64_t bytes, const Origin& origin,
                           Vmalloc::Contents contents = Vmalloc::Contents::undefined) {
    return addresses().vmalloc().allocate(bytes, origin, contents);
  }
  Result<void> vfree(VirtAddr at);
  Result<void> iounmap(VirtAddr at);

  // Who has that kernel address, for a CPU that reports a fault and will not go on: takes no lock, which may be held, and
  // reads a record only where directly mapped memory or the manager is. Fails with not_found; may miss what is being
  // changed just now.
  Result<FoundRange> range_at_fault(VirtAddr at) const;

  // The n-th allocation from now on fails, whichever floor makes it; 0 disarms. Nothing is served out of a cache
  // meanwhile. Precondition: as KmemCache::quiesce().
  void fail_nth(std::uint64_t n);

  // The face. As Physical's, but flags that make no sense are invalid, and a misuse is met with the policy: panics with what was wrong, or returns the
  // error.
  [[gnu::always_inline]] Result<FrameNumber> alloc_pages(Order order, Gfp flags = Gfp::kernel) {
    if (!memory::valid(flags)) [[unlikely]]
      return Error::invalid;
    return physical_.allocate(order, flags);
  }
  [[gnu::always_inline]] Result<void> free_pages(FrameNumber number, Order order) {
    const auto released = physical_.release(number, order);
    if (!released.ok()) [[unlikely]]
      meet_misuse(released.error(), number, order);
    return released;
  }

  // The face of the floor of objects: as KmemCache::release, Kmalloc::release and Kmalloc::release_sized. A misuse is
  // written down (last_misuse), its site the line that called this, and met with the policy. A null object is nothing
  // to do.
  [[gnu::always_inline]] Result<void> cache_free(KmemCache& cache, void* object) {
    const Result<void> released = object == nullptr ? Result<void>() : cache.release(object);
    if (!released.ok()) [[unlikely]]
      return meet_misuse(released.error(), object, {.cache = &cache});
    return released;
  }
  [[gnu::always_inline]] Result<void> kfree(void* object) {
    const Result<void> released = object == nullptr ? Result<void>() : kmalloc_.release(object);
    if (!released.ok()) [[unlikely]]
      return meet_misuse(released.error(), object, {});
    return released;
  }
  [[gnu::always_inline]] Result<void> kfree_sized(void* object, std::size_t bytes) {
    const Result<void> released = object == nullptr ? Result<void>() : kmalloc_.release_sized(object, bytes);
    if (!released.ok()) [[unlikely]]
      return meet_misuse(released.error(), object, {.bytes = bytes});
    return released;
  }
  // As Kmalloc::resize, likewise.
  [[gnu::always_inline]] Result<void*> krealloc(void* object, std::size_t bytes, Gfp flags = Gfp::kernel) {
    const Result<void*> resized = kmalloc_.resize(object, bytes, flags);
    if (!resized.ok()) [[unlikely]]
      return meet_misuse(resized.error(), object, {});
    return resized;
  }
  // The kernel heap's face, likewise. Sizes of any magnitude; may sleep.
  [[gnu::always_inline]] Result<void*> heap_malloc(std::size_t bytes) {
    return meet(kernel_heap_.malloc(bytes), nullptr);
  }
  [[gnu::always_inline]] Result<void*> heap_memalign(std::size_t align, std::size_t bytes) {
    return meet(kernel_heap_.memalign(align, bytes), nullptr);
  }
  [[gnu::always_inline]] Result<void*> heap_realloc(void* payload, std::size_t bytes) {
    return meet(kernel_heap_.realloc(payload, bytes), payload);
  }
  [[gnu::always_inline]] Result<void> heap_free(void* payload) {
    return meet(kernel_heap_.free(payload), payload);
  }

  // kfree() and heap_free() for somebody else: `site` is the call that is written down.
  Result<void> kfree_for(void* object, std::uint64_t site);
  Result<void> heap_free_for(void* payload, std::uint64_t site);
  // Whether `address` lies in a range of the kernel heap. Takes no lock.
  bool in_kernel_heap(const void* address) const;

  // The last misuse of the heap; its number is 0 when there was none.
  MisuseReport last_misuse() const {
    return last_misuse_.with([](const MisuseReport& report) { return report; });
  }

  // As LeakScan::scan, with the manager's own roots besides those of `roots`: what the home knows. Where the profile keeps
  // no tracks, nothing is remembered of it. Precondition: no lock is held.
  LeakCount find_leaks(LeakRoots& roots, LeakSink& sink);

  MisusePolicy on_misuse() const { return on_misuse_; }
  void set_on_misuse(MisusePolicy policy) { on_misuse_ = policy; }

  std::span<PerCpu* const> cpus() const { return cpus_; }
  // Further CPUs run from now on, or one that was announced never came: `cpus` begins with those that were there.
  // While this runs nobody reads counters.
  void set_cpus(std::span<PerCpu* const> cpus);
  std::int64_t counter(stats::Counter counter) const { return stats::read(cpus_, counter); }
  void describe_counters(Inspector& to) const;

  // Proves every invariant of every floor. O(memory).
  bool valid() const;

 private:
  void meet_misuse(Error error, FrameNumber number, Order order) const;
  // What was asked besides the address: the cache that was to have it, the size that it was said to have.
  struct Asked {
    const KmemCache* cache = nullptr;
    std::size_t bytes = 0;
    std::uint64_t site = 0;  // who asked; 0: the call of the face
  };
  Error meet_misuse(Error error, const void* object, Asked asked);
  Error meet_heap_misuse(Error error, const void* payload, std::uint64_t site = 0);
  void tell(MisuseReport& report, std::uint64_t site) override;
  void meet_range_misuse(Error error, VirtAddr at) const;
  template <typename Outcome>
  [[gnu::always_inline]] Outcome meet(Outcome outcome, const void* payload) {
    if (!outcome.ok()) [[unlikely]]
      return meet_heap_misuse(outcome.error(), payload);
    return outcome;
  }

  Physical physical_;
  Heap heap_;
  Kmalloc kmalloc_;
  FrameSource heap_pages_;
  KernelHeap kernel_heap_;
  PageDirectories directories_;
  std::optional<KernelAddresses> addresses_;
  std::span<PerCpu* const> cpus_;
  stats::Record& record_;
  MisusePolicy on_misuse_;
  mutable Guarded<MisuseReport, IrqSpin<Rank::log>> last_misuse_;
  ManagerRecord manager_record_;
};

// How the boot loader left the CPU, and what it can do.
struct BootState {
  std::byte* reach;        // where physical address 0 appears before the kernel's own map is loaded
  PhysAddr reach_end;      // and how far that goes
  PageLevel largest_page;  // two_mib, or one_gib where CPUID has it
  PageLevel top;           // the level of root tables: tib_256 where CR4.LA57 is set, else gib_512
  MisusePolicy on_misuse;
  PhysAddr direct_map_end{~std::uint64_t{0}};  // memory from here on is not to be in the direct map
  const void* home = nullptr;                  // as MemoryManager has it
  std::uint32_t sample_every = 0;              // as GuardPool has it; 0: there is no guard pool
};

// The kernel's memory manager, once: early allocator, boot map, its root loaded, frame array, zones,
// hand-over; in this order. coronel_record has its tables of types. Fails with no_memory when the machine is too small; then nothing but a message
// can follow.
Result<MemoryManager*> initialize(const BootInfo& info, const KernelImage& image, const BootState& state,
                                  std::span<PerCpu* const> cpus);

// KOS's buddy_add_memory for the kernel's memory manager. As Physical::add_memory; `memory` is RAM. Precondition:
// initialize() succeeded.
Result<void> add_memory(PhysRange memory);

// The tree that maps the kernel, in every space. A CPU that starts calls enter() on it. Precondition: initialize()
// succeeded.
PageTables& kernel_tables();

// As MemoryManager::range_at_fault; not_found before initialize() has succeeded, too.
Result<FoundRange> range_at_fault(VirtAddr at);
// The frame that the direct map shows at that address, or would if it were not hidden; not_found where there is none, or
// before initialize() has succeeded. Takes no lock.
Result<FrameNumber> frame_at_fault(VirtAddr at);
// What an access at that address did to an object of the guard pool; not_found where it met none, or before initialize()
// has succeeded. Takes no lock.
Result<MisuseReport> misuse_at_fault(VirtAddr at);

// The kernel's memory manager. Precondition: initialize() succeeded.
MemoryManager& manager();

}  // namespace memory

// Where outside readers start in the kernel.
extern "C" memory::stats::Record coronel_record;
