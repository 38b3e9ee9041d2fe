// KernelRanges: an augmented tree that tiles its window.
//
// Theory. Free and taken ranges lie in one tree by address and leave no address out, so who is beside whom needs no search:
// a free range's neighbours in the tree are its neighbours in memory. Each record knows the largest free range of its
// subtree. First fit goes left wherever something large enough is left, so it ends at the lowest one:
//
//   wanted: 3                     taken, largest 8
//                     2 free                          taken, largest 8
//                                           4 free                  8 free
//
//   Left of the root there is 2, too little; the root itself is taken; right of it there is 8, and there left is 4: that.
//
// A taken range is carved from the low end of a free one, whose record moves up; only an alignment above a page leaves
// free pages on both sides. Giving back turns the range's own record into a free one or drops it, so it never needs
// memory.
//
// Invariants, proved by valid():
//   R1  the ranges are whole pages, none is empty, each begins where the one before it ends, and together they are the
//       window
//   R2  no two free ranges touch
//   R3  every record knows the largest free range below it, and the tree is an AVL tree in order (Tree::valid)
//   R4  a free range is nobody's: no kind, no guards, no owner; a taken one has a kind and a body that is not empty
//   R5  the record's counts are those of the tree
//   R6  a window that is wholly free is one range, and its record is the one that this owns
// SPDX-License-Identifier: MIT
#include "mm/virtual/kernel_range.hpp"

#include <algorithm>
#include <new>

#include "mm/base/check.hpp"

namespace memory {

namespace {

std::uint64_t free_in(const KernelRange& range) { return range.state == RangeState::free ? range.bytes : 0; }

std::uint64_t needed(const RangeRequest& request) {
  return request.bytes + (std::uint64_t{request.guard_below} + request.guard_above) * kPageSize;
}

bool makes_sense(const RangeRequest& request) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 47;  // half of all addresses, and no sum of it wraps
  return request.bytes > 0 && request.bytes % kPageSize == 0 && request.bytes <= kMost &&
         request.align >= kPageSize && request.align <= kMost && (request.align & (request.align - 1)) == 0 &&
         request.kind != RangeKind::none && (request.kind != RangeKind::per_cpu || request.number != 0);
}

// The lowest place in `free` for what is asked, wherever it ends.
VirtRange place_in(const KernelRange& free, const RangeRequest& request) {
  const std::uint64_t below = request.guard_below * kPageSize;
  const VirtAddr first = (free.first + below).aligned_up(request.align) - below;
  return {first, first + needed(request)};
}

}  // namespace

struct KernelRanges::Spares {
  std::array<KernelRange*, 3> records{};
  unsigned count = 0;

  void add(KernelRange& record) { records[count++] = &record; }
  KernelRange& take() {
    CHECK(count > 0);
    return *records[--count];
  }
  // A record that holds a piece of the window.
  KernelRange& make(VirtRange whole) {
    auto& made = *new (&take()) KernelRange;
    made.first = whole.first;
    made.bytes = whole.bytes();
    return made;
  }
};

std::uint64_t KernelRanges::ByAddress::summarise(const KernelRange& range, const KernelRange* left,
                                                 const KernelRange* right) {
  std::uint64_t largest = free_in(range);
  if (left != nullptr) largest = std::max(largest, left->largest_free);
  if (right != nullptr) largest = std::max(largest, right->largest_free);
  return largest;
}

KernelRanges::KernelRanges(VirtRange window, RangeStorage& storage)
    : window_(window),
      storage_(storage),
      record_{
          .first = window.first, .end = window.end, .tree = &ranges_.core(), .free_bytes = window.bytes()} {
  CHECK(!window.empty() && window.first.aligned_to(kPageSize) && window.end.aligned_to(kPageSize));
  whole_.first = window.first;
  whole_.bytes = window.bytes();
  CHECK(ranges_.insert(whole_).ok());
  ranges_.refresh(whole_);
}

// What the tree does not need. The window's own record just waits.
void KernelRanges::give_back(Spares& spares) {
  while (spares.count > 0)
    if (KernelRange& record = spares.take(); &record != &whole_) storage_.give_back(record);
}

// When all is free again it is said by the window's own record.
void KernelRanges::rest(Spares& spares) {
  KernelRange* const last = ranges_.root();
  if (last == &whole_) return;
  whole_ = KernelRange{};
  whole_.first = last->first;
  whole_.bytes = last->bytes;
  ranges_.replace(*last, whole_);
  spares.add(*last);
}

Result<KernelRanges::Place> KernelRanges::first_fit(const RangeRequest& request) const {
  const std::uint64_t need = needed(request);
  const auto holds = [need](const KernelRange* subtree) {
    return subtree != nullptr && subtree->largest_free >= need;
  };
  const auto lowest = [&holds, need](KernelRange* subtree) {  // of a subtree that holds one
    for (;;) {
      if (KernelRange* const left = Ranges::left(*subtree); holds(left)) {
        subtree = left;
      } else if (free_in(*subtree) >= need) {
        return subtree;
      } else {
        subtree = Ranges::right(*subtree);
      }
    }
  };
  // The lowest one above `range` that is large enough, or null.
  const auto above = [&](KernelRange* range) -> KernelRange* {
    if (KernelRange* const right = Ranges::right(*range); holds(right)) return lowest(right);
    for (KernelRange* child = range; (range = Ranges::parent(*child)) != nullptr; child = range) {
      if (Ranges::left(*range) != child) continue;
      if (free_in(*range) >= need) return range;
      if (KernelRange* const right = Ranges::right(*range); holds(right)) return lowest(right);
    }
    return nullptr;
  };

  KernelRange* const root = ranges_.root();
  for (KernelRange* free = holds(root) ? lowest(root) : nullptr; free != nullptr; free = above(free)) {
    const VirtRange place = place_in(*free, request);
    if (free->whole().contains(place)) return Place{free, place};  // both ends: an alignment may wrap
  }
  return Error::no_memory;
}

// Makes the place a range of its own; what is left of the free range on both sides stays free. Sizes change before the
// shape does: a rotation keeps only summaries that are true.
KernelRange& KernelRanges::carve(const Place& place, Spares& spares) {
  KernelRange& free = *place.free;
  const VirtRange whole = free.whole();
  if (whole == place.whole) {
    free.state = RangeState::allocated;
    ranges_.refresh(free);
    return free;
  }
  KernelRange& taken = spares.make(place.whole);
  taken.state = RangeState::allocated;
  if (whole.first == place.whole.first) {
    free.first = place.whole.end;
    free.bytes = whole.end - free.first;
    ranges_.refresh(free);
    ranges_.insert_before(free, taken);
  } else {
    free.bytes = place.whole.first - whole.first;
    ranges_.refresh(free);
    ranges_.insert_after(free, taken);
    if (place.whole.end != whole.end) ranges_.insert_after(taken, spares.make({place.whole.end, whole.end}));
  }
  return taken;
}

Result<KernelRange*> KernelRanges::allocate(const RangeRequest& request) {
  if (!makes_sense(request)) return Error::invalid;
  Spares spares;
  spares.add(*TRY(storage_.fresh()));
  if (request.align > kPageSize) {
    const auto second = storage_.fresh();
    if (!second.ok()) {
      give_back(spares);
      return second.error();
    }
    spares.add(*second.take());
  }

  KernelRange* taken = nullptr;
  {
    Spin<Rank::range>::Hold hold(lock_);
    const auto place = first_fit(request);
    if (place.ok()) {
      taken = &carve(place.take(), spares);
      taken->physical = request.physical;
      taken->caller = request.caller;
      taken->owner = request.owner;
      taken->number = request.number;
      taken->guard_below = request.guard_below;
      taken->guard_above = request.guard_above;
      taken->kind = request.kind;
      ++record_.allocated;
      record_.free_bytes -= taken->bytes;
    }
  }
  give_back(spares);
  if (taken == nullptr) return Error::no_memory;
  return taken;
}

bool KernelRanges::was_released(VirtAddr body) const {
  return std::find(released_.begin(), released_.end(), body) != released_.end();
}

Result<KernelRange*> KernelRanges::take_back(VirtAddr address, RangeKind kind) {
  if (!window_.contains(address)) return Error::wild_range;
  Spin<Rank::range>::Hold hold(lock_);
  KernelRange* const range = ranges_.floor(address);
  if (range == nullptr) return Error::wild_range;
  if (range->state == RangeState::free) return was_released(address) ? Error::double_free : Error::wild_range;
  if (range->body().first != address) return Error::interior_free;
  if (range->state == RangeState::leaving) return Error::double_free;
  if (range->kind != kind) return Error::wrong_range;
  range->state = RangeState::leaving;
  return range;
}

void KernelRanges::renew(KernelRange& range, RangeOwner owner, std::uint32_t number, std::uint64_t caller) {
  Spin<Rank::range>::Hold hold(lock_);
  CHECK(range.state == RangeState::leaving);
  range.owner = owner;
  range.number = number;
  range.caller = caller;
  range.state = RangeState::allocated;
}

// Joins a range that becomes free with its free neighbours; what the tree does not need any more goes to `spares`. The shape
// changes before any size does.
void KernelRanges::join(KernelRange& range, Spares& spares) {
  KernelRange* const low = Ranges::previous(range);
  KernelRange* const high = Ranges::next(range);
  const VirtRange whole = range.whole();
  KernelRange* kept = &range;
  VirtAddr end = whole.end;
  if (low != nullptr && low->state == RangeState::free) {
    ranges_.erase(range);
    spares.add(range);
    kept = low;
  }
  if (high != nullptr && high->state == RangeState::free) {
    end = high->whole().end;
    ranges_.erase(*high);
    spares.add(*high);
  }
  kept->state = RangeState::free;
  kept->bytes = end - kept->first;
  ranges_.refresh(*kept);
}

void KernelRanges::release(KernelRange& range) {
  Spares spares;
  {
    Spin<Rank::range>::Hold hold(lock_);
    CHECK(range.state != RangeState::free);
    released_[next_released_] = range.body().first;
    next_released_ = (next_released_ + 1) % kRemembered;
    --record_.allocated;
    record_.free_bytes += range.bytes;
    range.physical = PhysAddr{};
    range.caller = 0;
    range.owner = RangeOwner{};
    range.number = 0;
    range.guard_below = range.guard_above = 0;
    range.kind = RangeKind::none;
    join(range, spares);
    if (ranges_.size() == 1) rest(spares);
  }
  give_back(spares);
}

FoundRange KernelRanges::copy_of(const KernelRange& range) {
  return {.whole = range.whole(),
          .body = range.body(),
          .kind = range.kind,
          .state = range.state,
          .owner = range.owner,
          .number = range.number,
          .physical = range.physical,
          .caller = range.caller};
}

Result<FoundRange> KernelRanges::find(VirtAddr address) const {
  if (!window_.contains(address)) return Error::not_found;
  Spin<Rank::range>::Hold hold(lock_);
  const KernelRange* const range = ranges_.floor(address);
  if (range == nullptr || range->state == RangeState::free) return Error::not_found;
  return copy_of(*range);
}

// The first range that is not free and begins at or above `at`. Of two neighbours at most one is free (R2).
Result<FoundRange> KernelRanges::next_from(VirtAddr at) const {
  Spin<Rank::range>::Hold hold(lock_);
  const KernelRange* range = ranges_.lower_bound(at);
  if (range != nullptr && range->state == RangeState::free) range = Ranges::next(*range);
  if (range == nullptr) return Error::not_found;
  return copy_of(*range);
}

std::uint64_t KernelRanges::allocated() const {
  Spin<Rank::range>::Hold hold(lock_);
  return record_.allocated;
}

std::uint64_t KernelRanges::free_bytes() const {
  Spin<Rank::range>::Hold hold(lock_);
  return record_.free_bytes;
}

std::uint64_t KernelRanges::largest_free() const {
  Spin<Rank::range>::Hold hold(lock_);
  return ranges_.empty() ? 0 : ranges_.root()->largest_free;
}

bool KernelRanges::valid() const {
  Spin<Rank::range>::Hold hold(lock_);
  if (!ranges_.valid()) return false;  // R3
  VirtAddr expected = window_.first;
  std::uint64_t allocated = 0;
  std::uint64_t free_bytes = 0;
  const KernelRange* before = nullptr;
  for (const KernelRange* range = ranges_.first(); range != nullptr;
       before = range, range = Ranges::next(*range)) {
    const bool free = range->state == RangeState::free;
    if (range->first != expected || range->bytes == 0 || range->bytes % kPageSize != 0) return false;  // R1
    if (free && before != nullptr && before->state == RangeState::free) return false;                  // R2
    const std::uint64_t guards = std::uint64_t{range->guard_below} + range->guard_above;
    if (free != (range->kind == RangeKind::none) || guards * kPageSize >= range->bytes) return false;  // R4
    if (free && (guards != 0 || range->owner != RangeOwner{})) return false;                           // R4
    expected = range->whole().end;
    if (free) {
      free_bytes += range->bytes;
    } else {
      ++allocated;
    }
  }
  if (allocated == 0 && ranges_.root() != &whole_) return false;  // R6, and by R2 there is no other
  return expected == window_.end && allocated == record_.allocated &&
         free_bytes == record_.free_bytes;  // R1, R5
}

}  // namespace memory
