// Buddy: the lists of pageblocks and the way through them.
// SPDX-License-Identifier: MIT
//
// Theory. Blocks of orders 0-8 live inside one pageblock, which is a buddy system of its own (pageblock.cpp). Blocks
// of orders 9-11 are runs of 1, 2 or 4 wholly free pageblocks at multiples of their size, on one list for each order.
// Free pageblocks merge with their buddy pageblock as far as order 11.
//
// A partly free pageblock is on exactly one of 63 lists: seven steps of fullness by nine sizes of its largest free
// block. Bit 9 f + n of lists_.nonempty says that the list (fullness f, largest order n) has a pageblock; f = 0 is fullest.
// A request of order k fits every list with n >= k, so one AND with kFits[k] and the lowest set bit name the fullest
// pageblock that can serve it:
//
//   bit   62 .. 54          17 .. 9           8 .. 0
//         emptiest: 8..0    fuller: 8..0      fullest: largest free order 8..0
//
// Filling the fullest first lets the others drain: at half load after churn nearly all free memory is whole 2 MiB
// blocks again (docs/decisions.md has the comparison with a list for each order).
//
// Invariants, proved by valid():
//   B1  each pageblock keeps P1 and P2 of pageblock.cpp
//   B2  a pageblock is on the list that list_for() names, or is the inside of a whole run, or has nothing free
//   B3  lists_.nonempty and lists_.heads agree; links go both ways
//   B4  lists_.free_frames is the number of set bits
//   B5  each managed frame is free (bit set, Frame `managed` and clear) or covered by exactly one allocated block;
//       absent and reserved frames are never free
//   B6  no two free buddies of equal order exist
#include "mm/physical/buddy.hpp"

#include "mm/base/bits.hpp"
#include "mm/stats/stats.hpp"

namespace memory {

using stats::Counter;

namespace {

constexpr unsigned kBlockFrames = Pageblock::kFrames;

// kFits[k]: the partial lists whose largest free block is of order k or more.
constexpr auto kFits = [] {
  std::array<std::uint64_t, Pageblock::kWholeOrder> fits{};
  for (unsigned k = 0; k < fits.size(); ++k)
    for (unsigned bit = 0; bit < 63; ++bit)
      if (bit % 9 >= k) fits[k] |= std::uint64_t{1} << bit;
  return fits;
}();

constexpr std::uint32_t block_of(FrameNumber number) { return raw(number) / kBlockFrames; }
constexpr unsigned position_of(FrameNumber number) { return raw(number) % kBlockFrames; }
constexpr FrameNumber first_frame(std::uint32_t block) { return FrameNumber{block * kBlockFrames}; }

// Pageblocks in a run of order 9-11, and the list of such runs.
constexpr std::uint32_t blocks_in(unsigned order) { return 1u << (order - Pageblock::kWholeOrder); }
constexpr unsigned whole_list(unsigned order) {
  return BuddyLists::kPartial + order - Pageblock::kWholeOrder;
}

}  // namespace

// What the compiler decides differently from file to file is decided here by measurement (bench/physical): what most
// operations do not need is a call away, so that the registers of the fast path stay free.

// ---- lists of pageblocks ----------------------------------------------------------------------------------------

// Precondition: the pageblock is partly free.
unsigned Buddy::list_for(const Pageblock& block) {
  const unsigned fullness = block.free_frames * BuddyLists::kFullnesses / kBlockFrames;
  return fullness * BuddyLists::kPartialOrders + block.largest();
}

// Puts a pageblock that is not wholly free where B2 wants it. Most operations leave it where it is.
[[gnu::always_inline]] inline void Buddy::relist(Pageblock& block, std::uint32_t number) {
  const unsigned list = block.free_frames == 0 ? unsigned{Pageblock::kNoList} : 1 + list_for(block);
  if (block.list != list) move(block, number, list);
}

[[gnu::noinline]] void Buddy::move(Pageblock& block, std::uint32_t number, unsigned list) {
  if (block.list != Pageblock::kNoList) {
    const unsigned former = block.list - 1u;
    CHECK(former < kPartialLists);  // B2
    detach(block, number, former);
    if (lists_.heads[former] == Pageblock::kNone) lists_.nonempty &= ~(std::uint64_t{1} << former);
  }
  if (list == Pageblock::kNoList) return;
  attach(block, number, list - 1);
  lists_.nonempty |= std::uint64_t{1} << (list - 1);
}

// Whether a link of that list leads to a pageblock that says that it is on it.
[[gnu::always_inline]] inline bool Buddy::linked(std::uint32_t number, unsigned list) const {
  return frames_.block_present(number) && frames_.block(number).list == 1 + list;
}

// Links a pageblock that is on no list in front of one.
[[gnu::always_inline]] inline void Buddy::attach(Pageblock& block, std::uint32_t number, unsigned list) {
  const std::uint32_t next = lists_.heads[list];
  block.list = static_cast<std::uint8_t>(list + 1);
  block.prev = Pageblock::kNone;
  block.next = next;
  lists_.heads[list] = number;
  if (next == Pageblock::kNone) return;
  CHECK(linked(next, list) && frames_.block(next).prev == Pageblock::kNone);  // B3
  frames_.block(next).prev = number;
}

// Takes a pageblock off the list that it is on.
[[gnu::always_inline]] inline void Buddy::detach(Pageblock& block, std::uint32_t number, unsigned list) {
  const std::uint32_t prev = block.prev;
  const std::uint32_t next = block.next;
  if (prev == Pageblock::kNone) {
    CHECK(lists_.heads[list] == number);  // B3
    lists_.heads[list] = next;
  } else {
    CHECK(linked(prev, list) && frames_.block(prev).next == number);  // B3
    frames_.block(prev).next = next;
  }
  if (next != Pageblock::kNone) {
    CHECK(linked(next, list) && frames_.block(next).prev == number);  // B3
    frames_.block(next).prev = prev;
  }
  block.list = Pageblock::kNoList;
  block.whole_order = 0;
  block.prev = block.next = 0;
}

[[gnu::always_inline]] inline void Buddy::attach_run(std::uint32_t number, unsigned order) {
  Pageblock& head = frames_.block(number);
  attach(head, number, whole_list(order));
  head.whole_order = static_cast<std::uint8_t>(order);
}

// Takes the smallest run of at least `order` off its list and keeps its low part, which is then on no list; the first
// pageblock, or kNone when there is no such run.
[[gnu::always_inline]] inline std::uint32_t Buddy::cut_run(unsigned order) {
  unsigned larger = order;
  while (lists_.heads[whole_list(larger)] == Pageblock::kNone)
    if (++larger > config::max_order) return Pageblock::kNone;
  const std::uint32_t number = lists_.heads[whole_list(larger)];
  CHECK(frames_.block(number).list == 1 + whole_list(larger));  // B3
  detach(frames_.block(number), number, whole_list(larger));
  if (larger == order) return number;
  stats::add(Counter::frame_splits, larger - order);
  do {
    --larger;
    attach_run(number + blocks_in(larger), larger);
  } while (larger > order);
  return number;
}

// Lists the wholly free run at `number` after merging it with its buddies; returns how often it merged.
[[gnu::always_inline]] inline unsigned Buddy::merge_run(std::uint32_t number, unsigned order) {
  const unsigned smallest = order;
  for (; order < config::max_order; ++order) {
    const std::uint32_t buddy = number ^ blocks_in(order);
    if (!frames_.block_present(buddy) || frames_.block(buddy).list != 1 + whole_list(order)) break;
    detach(frames_.block(buddy), buddy, whole_list(order));
    number &= ~blocks_in(order);
  }
  attach_run(number, order);
  return order - smallest;
}

// ---- handing out ------------------------------------------------------------------------------------------------

inline Frame& Buddy::hand_out(FrameNumber number, Order order) {
  Frame& frame = frames_[number];
  CHECK(frame.state_order == Frame::packed(FrameState::managed));  // B5: a free frame is not in use
  frame.set(FrameState::allocated, order);
  frame.references.store(1, std::memory_order_relaxed);
  lists_.free_frames -= frames_in(order);
  if constexpr (config::poison_frames) verify_poison(number, order);
  stats::add(Counter::frame_allocations);
  stats::add(Counter::frames_free, -static_cast<std::int64_t>(frames_in(order)));
  return frame;
}

[[gnu::noinline]] Error Buddy::no_memory() {
  ++lists_.failures;
  stats::add(Counter::frame_failures);
  return Error::no_memory;
}

// Orders 0-8: of the fullest pageblock that has such a block, or of a fresh pageblock.
Result<Frame*> Buddy::allocate_part(Order order) {
  const std::uint64_t fitting = lists_.nonempty & kFits[raw(order)];
  const std::uint32_t number = fitting != 0 ? lists_.heads[lowest_bit(fitting)] : fresh_block();
  if (number == Pageblock::kNone) [[unlikely]]
    return no_memory();
  Pageblock& block = frames_.block(number);
  unsigned splits = 0;
  const unsigned position = block.take(raw(order), splits);
  stats::add(Counter::frame_splits, splits);
  relist(block, number);
  return &hand_out(first_frame(number) + position, order);
}

// A whole pageblock for parts to be taken of, on no list yet.
[[gnu::noinline]] std::uint32_t Buddy::fresh_block() { return cut_run(Pageblock::kWholeOrder); }

// Orders 9-11.
Result<Frame*> Buddy::allocate_run(Order order) {
  if (order > kMaxOrder) [[unlikely]]
    return Error::invalid;
  const std::uint32_t number = cut_run(raw(order));
  if (number == Pageblock::kNone) [[unlikely]]
    return no_memory();
  for (Pageblock& block : frames_.blocks(number, blocks_in(raw(order)))) block.take_whole();
  return &hand_out(first_frame(number), order);
}

// ---- taking back ------------------------------------------------------------------------------------------------

// True when `number` is the first frame of an allocated block of that order.
inline bool Buddy::is_allocated(FrameNumber number, Order order) const {
  return frames_.has(number) && frames_[number].state_order == Frame::packed(FrameState::allocated, order);
}

inline void Buddy::take_back(FrameNumber number, Order order) {
  Frame& frame = frames_[number];
  if constexpr (config::poison_frames) poison(number, order);
  frame.references.store(0, std::memory_order_relaxed);
  frame.tag = 0;
  frame.set(FrameState::managed);
  lists_.free_frames += frames_in(order);
  stats::add(Counter::frame_releases);
  stats::add(Counter::frames_free, static_cast<std::int64_t>(frames_in(order)));
}

// Orders 0-8.
Result<void> Buddy::release_part(FrameNumber first, Order order) {
  if (!is_allocated(first, order)) [[unlikely]]
    return refuse(first, order);
  take_back(first, order);
  const std::uint32_t number = block_of(first);
  Pageblock& block = frames_.block(number);
  CHECK(block.all_taken(position_of(first), raw(order)));  // B5: an allocated block has no free frame
  unsigned merges = 0;
  block.give(position_of(first), raw(order), merges);
  if (block.free_frames != kBlockFrames) [[likely]] {
    relist(block, number);
  } else {
    merges += whole_again(block, number);
  }
  stats::add(Counter::frame_merges, merges);
  return {};
}

// A pageblock of which everything was given back joins the whole runs; returns how often it merged there.
[[gnu::noinline]] unsigned Buddy::whole_again(Pageblock& block, std::uint32_t number) {
  if (block.list != Pageblock::kNoList) move(block, number, Pageblock::kNoList);
  return merge_run(number, Pageblock::kWholeOrder);
}

// Orders 9-11.
Result<void> Buddy::release_run(FrameNumber first, Order order) {
  if (order > kMaxOrder) [[unlikely]]
    return Error::invalid;
  if (!is_allocated(first, order)) [[unlikely]]
    return refuse(first, order);
  take_back(first, order);
  const std::uint32_t number = block_of(first);
  for (Pageblock& block : frames_.blocks(number, blocks_in(raw(order)))) {
    CHECK((block.runs | block.free_frames | block.list) == 0);  // B2, B5: nothing free, on no list
    block.give_whole();
  }
  const unsigned merges = merge_run(number, raw(order));
  stats::add(Counter::frame_merges, merges);
  return {};
}

[[gnu::noinline]] Error Buddy::refuse(FrameNumber number, Order order) {
  const Error error = misuse_of(number, order);
  ++lists_.misuses;
  stats::add(Counter::frame_misuses);
  return error;
}

// Why `number` cannot be released with that order. Out of line: only misuse comes here.
Error Buddy::misuse_of(FrameNumber number, Order order) const {
  if (!frames_.has(number)) return Error::wild_free;
  const Frame& frame = frames_[number];
  switch (frame.state()) {
    case FrameState::absent: return Error::wild_free;
    case FrameState::reserved: return Error::reserved_free;
    case FrameState::managed:
      return frames_.block(block_of(number)).is_free(position_of(number)) ? Error::double_free
                                                                          : Error::interior_free;
    case FrameState::allocated:
      CHECK(frame.order() != order);  // else it was no misuse
      return Error::wrong_order;
  }
  platform::panic("frame in a state that no frame has");
}

// ---- poison -----------------------------------------------------------------------------------------------------

// Frames that were donated and never freed are not filled: filling all of memory at boot would make the host commit
// all of it.
void Buddy::verify_poison(FrameNumber number, Order order) {
  for (FrameNumber at = number; at < number + frames_in(order); ++at) {
    auto& flags = frames_[at].flags;
    const auto poisoned = static_cast<std::uint8_t>(FrameFlag::poisoned);
    if ((flags.load(std::memory_order_relaxed) & poisoned) == 0) continue;
    platform::unpoison(frames_.open(at).bytes(), kPageSize, platform::Poison::free_frame);
    flags.fetch_and(static_cast<std::uint8_t>(~poisoned), std::memory_order_relaxed);
  }
}

void Buddy::poison(FrameNumber number, Order order) {
  for (FrameNumber at = number; at < number + frames_in(order); ++at) {
    platform::poison(frames_.open(at).bytes(), kPageSize, platform::Poison::free_frame);
    frames_[at].flags.fetch_or(static_cast<std::uint8_t>(FrameFlag::poisoned), std::memory_order_relaxed);
  }
  lists_.poisoned_frames += frames_in(order);
  stats::add(Counter::frames_poisoned, static_cast<std::int64_t>(frames_in(order)));
}

// ---- donation ---------------------------------------------------------------------------------------------------

void Buddy::donate(FrameNumber first, std::size_t frames) {
  lists_.managed_frames += frames;
  lists_.free_frames += frames;
  const FrameNumber end = first + frames;
  while (first < end) {
    const std::uint32_t number = block_of(first);
    const FrameNumber stop = first_frame(number + 1) < end ? first_frame(number + 1) : end;
    Pageblock& block = frames_.block(number);
    if (block.list != Pageblock::kNoList) move(block, number, Pageblock::kNoList);
    for (FrameNumber at = first; at < stop; ++at) {
      CHECK(frames_[at].state() == FrameState::reserved);
      frames_[at].set(FrameState::managed);
    }
    block.mark_free(position_of(first), static_cast<unsigned>(stop - first));
    block.recount();
    if (block.free_frames == kBlockFrames) {
      whole_again(block, number);
    } else {
      relist(block, number);
    }
    first = stop;
  }
}

}  // namespace memory
