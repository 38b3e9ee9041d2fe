// KernelRanges: who has which addresses of one window of the kernel's half. First fit, guards included.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "mm/base/range.hpp"
#include "mm/base/result.hpp"
#include "mm/base/sync.hpp"
#include "mm/base/tree.hpp"

namespace memory {

enum class RangeState : std::uint8_t {
  free,
  allocated,
  leaving,  // taken back, and its pages are not all unmapped yet: nobody may have the addresses
};

enum class RangeKind : std::uint8_t {
  none,     // of a free range
  vmalloc,  // frames that only this range maps
  device,   // physical addresses that are not RAM
  stack,
  per_cpu,  // an area for each of `number` CPUs, with a guard page between two
};

constexpr std::string_view name_of(RangeKind kind) {
  constexpr std::string_view kNames[] = {"free", "vmalloc", "ioremap", "stack",
                                         "percpu"};  // as Linux has them
  return kNames[static_cast<unsigned>(kind)];
}

// Who a range is for, in at most 15 characters, which are part of the range: whoever finds it after a fault reads no
// further memory.
struct RangeOwner {
  static constexpr std::size_t kBytes = 16;

  constexpr RangeOwner() = default;
  constexpr RangeOwner(std::string_view name) {  // what does not fit is cut
    for (std::size_t n = 0; n < name.size() && n < kBytes - 1; ++n) text[n] = name[n];
  }
  constexpr RangeOwner(const char* name) : RangeOwner(std::string_view(name)) {}
  constexpr std::string_view view() const { return std::string_view(text.data()); }
  constexpr bool operator==(const RangeOwner&) const = default;

  std::array<char, kBytes> text{};
};

// A piece of the window, free or somebody's. Standard layout. Legend: [r] the ranges' lock; [o] whoever allocated it, which
// nobody changes until he gives it back.
//
//   first                                                     first + bytes
//   | guard_below pages | body: what may be mapped | guard_above pages |
struct KernelRange {
  TreeNode node;                        // [r] by address
  VirtAddr first;                       // [o] [r] while free
  std::uint64_t bytes = 0;              // [o] [r] while free
  std::uint64_t largest_free = 0;       // [r] bytes of the largest free range of its subtree
  PhysAddr physical;                    // [o] device: the first byte it shows
  std::uint64_t caller = 0;             // [o] where in the program it was asked for
  RangeOwner owner;                     // [o]
  std::uint32_t number = 0;             // [o] whose of several: stack, per_cpu
  std::uint8_t guard_below = 0;         // [o] pages
  std::uint8_t guard_above = 0;         // [o] pages
  RangeKind kind = RangeKind::none;     // [o]
  RangeState state = RangeState::free;  // [r]

  VirtRange whole() const { return {first, first + bytes}; }
  // per_cpu: from one CPU's area to the next; the last area's guard is the range's.
  std::uint64_t stride() const { return (body().bytes() + kPageSize) / number; }
  VirtRange body() const {
    return {first + guard_below * kPageSize, first + bytes - guard_above * kPageSize};
  }
};
static_assert(sizeof(KernelRange) == 96 && std::is_standard_layout_v<KernelRange>);

// What is asked for.
struct RangeRequest {
  std::uint64_t bytes = 0;          // of the body; whole pages
  std::uint64_t align = kPageSize;  // of the body's first byte: a power of two, a page or more
  std::uint8_t guard_below = 0;     // pages
  std::uint8_t guard_above = 1;     // pages
  RangeKind kind = RangeKind::vmalloc;
  RangeOwner owner{};
  std::uint32_t number = 0;
  PhysAddr physical{};
  std::uint64_t caller = 0;
};

// Where the records of ranges come from. Called without the ranges' lock, from any CPU.
class RangeStorage {
 public:
  // Room for one, its contents undefined. Fails with no_memory.
  virtual Result<KernelRange*> fresh() = 0;
  virtual void give_back(KernelRange& range) = 0;

 protected:
  ~RangeStorage() = default;
};

// What an outside reader follows. Standard layout.
struct RangesRecord {
  VirtAddr first;                  // [I] the window
  VirtAddr end;                    // [I]
  const TreeCore* tree = nullptr;  // [I] of KernelRange, linked by its `node`
  std::uint64_t allocated = 0;     // [r] ranges that are not free
  std::uint64_t free_bytes = 0;    // [r]
};

// What was found; a copy, true at that instant.
struct FoundRange {
  VirtRange whole;
  VirtRange body;
  RangeKind kind;
  RangeState state;
  RangeOwner owner{};
  std::uint32_t number;
  PhysAddr physical;
  std::uint64_t caller;

  // Whether `address` lies in a page of the range that is never mapped.
  bool guards(VirtAddr address) const {
    if (!whole.contains(address)) return false;
    if (!body.contains(address)) return true;
    return kind == RangeKind::per_cpu && (address - body.first) % stride() >= stride() - kPageSize;
  }
  std::uint64_t stride() const { return (body.bytes() + kPageSize) / number; }
  std::uint64_t mapped_pages() const {
    return body.bytes() / kPageSize - (kind == RangeKind::per_cpu ? number - 1 : 0);
  }
};

// Synchronised by one spin lock of rank `range`, held for tree work only; never from an interrupt handler. It maps nothing:
// it only says who may.
class KernelRanges {
 public:
  // `window`: whole pages, not empty, and all of it free. `storage` outlives this. Takes no memory.
  KernelRanges(VirtRange window, RangeStorage& storage);
  KernelRanges(const KernelRanges&) = delete;
  KernelRanges& operator=(const KernelRanges&) = delete;

  // The lowest place for that body with its guards. O(log n) for bodies that ask for no more than a page's alignment;
  // else free ranges that are large enough only without the alignment cost one step each. Fails, nothing changed, with
  // invalid when the request makes no sense (no bytes, not whole pages, no alignment, kind none), no_memory when no free
  // range can hold it or its record cannot be had. The range stays where it is until release().
  Result<KernelRange*> allocate(const RangeRequest& request);

  // Takes back the range whose body begins at `address`: from here on it is leaving, nobody else can take it back, and
  // its addresses are nobody's yet. The caller unmaps it, then calls release(). Fails, nothing changed, with one of the
  // misuse errors: double_free when the range is leaving, or was one of the last kRemembered released and nothing is
  // there now; interior_free inside a range, its guards included; wrong_range when it is of another kind; wild_range
  // anywhere else.
  Result<KernelRange*> take_back(VirtAddr address, RangeKind kind);

  // A leaving range is allocated again, for somebody else. Precondition: it came from take_back() and what is mapped in it
  // is still what it was.
  void renew(KernelRange& range, RangeOwner owner, std::uint32_t number, std::uint64_t caller);

  // Frees the addresses and joins them with free neighbours. Needs no memory. Precondition: the range came from allocate()
  // or take_back() and was not released; nothing is mapped in it. Panics when it is free.
  void release(KernelRange& range);

  // The range that holds `address`, its guards included. Fails with not_found where nobody has it, outside of the
  // window too.
  Result<FoundRange> find(VirtAddr address) const;

  // The same for a CPU that will not go on, which may hold the lock itself, or have stopped its holder: takes no lock
  // and follows a link only where `readable(address of record)` says that a record may be read, at most kMaxDepth
  // times. While somebody changes the tree, the answer may be not_found or that of a neighbour's record.
  template <typename Readable>
  Result<FoundRange> find_unlocked(VirtAddr address, Readable&& readable) const;

  // Calls body(FoundRange) for every range that is not free, ascending. Each is true at its own instant: those that come
  // and go meanwhile are met or not.
  template <typename Body>
  void for_each(Body&& body) const {
    VirtAddr at = window_.first;
    for (auto found = next_from(at); found.ok(); found = next_from(at)) {
      at = found.take().whole.end;
      body(found.take());
    }
  }

  // Every range that is not free, ascending, while inspect() lasts.
  class Walk {
   public:
    template <typename Body>
    void for_each(Body&& body) const {
      for (const KernelRange* range = first_; range != nullptr; range = Ranges::next(*range))
        if (range->state != RangeState::free) body(copy_of(*range));
    }

   private:
    friend class KernelRanges;
    explicit Walk(const KernelRange* first) : first_(first) {}
    const KernelRange* first_;
  };
  // Runs body(const Walk&) while no range comes or goes. What is mapped in them may change meanwhile.
  template <typename Body>
  void inspect(Body&& body) const {
    Spin<Rank::range>::Hold hold(lock_);
    body(Walk(ranges_.first()));
  }

  VirtRange window() const { return window_; }
  std::uint64_t allocated() const;  // ranges
  std::uint64_t free_bytes() const;
  std::uint64_t largest_free() const;

  // Proves R1-R6 of kernel_range.cpp. O(n).
  bool valid() const;

  const RangesRecord& record() const { return record_; }

  static constexpr unsigned kRemembered = 64;
  static constexpr unsigned kMaxDepth = 64;

 private:
  struct ByAddress {
    using Key = VirtAddr;
    using Summary = std::uint64_t;
    static Key key(const KernelRange& range) { return range.first; }
    static Summary& summary(KernelRange& range) { return range.largest_free; }
    static Summary summarise(const KernelRange& range, const KernelRange* left, const KernelRange* right);
  };
  using Ranges = Tree<KernelRange, offsetof(KernelRange, node), ByAddress>;

  struct Place {
    KernelRange* free;
    VirtRange whole;
  };
  // Records that the tree does not hold: what allocate() brings, and what release() leaves.
  struct Spares;
  Result<Place> first_fit(const RangeRequest& request) const REQUIRES(lock_);
  KernelRange& carve(const Place& place, Spares& spares) REQUIRES(lock_);
  void join(KernelRange& range, Spares& spares) REQUIRES(lock_);
  void rest(Spares& spares) REQUIRES(lock_);
  void give_back(Spares& spares);
  Result<FoundRange> next_from(VirtAddr at) const;
  bool was_released(VirtAddr body) const REQUIRES(lock_);
  static FoundRange copy_of(const KernelRange& range);

  const VirtRange window_;
  RangeStorage& storage_;
  mutable Spin<Rank::range> lock_;
  KernelRange
      whole_;  // the record of the window when all of it is free, so that a window nobody uses costs no memory
  Ranges ranges_ GUARDED_BY(lock_);
  RangesRecord record_;                                             // its counts by the lock
  std::array<VirtAddr, kRemembered> released_ GUARDED_BY(lock_){};  // bodies, the last releases
  unsigned next_released_ GUARDED_BY(lock_) = 0;
};

template <typename Readable>
Result<FoundRange> KernelRanges::find_unlocked(VirtAddr address, Readable&& readable) const {
  const KernelRange* best = nullptr;
  const TreeNode* at = record_.tree->root;
  for (unsigned depth = 0; at != nullptr && depth < kMaxDepth; ++depth) {
    const auto* range = reinterpret_cast<const KernelRange*>(at);
    static_assert(offsetof(KernelRange, node) == 0);
    if (!readable(range)) break;
    if (range->first <= address) best = range;
    at = range->node.child[range->first <= address];
  }
  if (best == nullptr || best->state == RangeState::free || !best->whole().contains(address))
    return Error::not_found;
  return copy_of(*best);
}

}  // namespace memory
