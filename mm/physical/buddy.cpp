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

}  // namespace

// ---- handing out ------------------------------------------------------------------------------------------------

Result<Frame*> Buddy::allocate(Order order) {
  if (order > kMaxOrder) [[unlikely]]
    return Error::invalid;
  if (raw(order) >= Pageblock::kWholeOrder) return allocate_whole(order);

  const std::uint64_t fitting = lists_.nonempty & kFits[raw(order)];
  Pageblock* block = fitting != 0 ? &frames_.block(lists_.heads[lowest_bit(fitting)]) : refill();
  if (block == nullptr) [[unlikely]]
    return no_memory();
  unsigned splits = 0;
  const unsigned position = block->take(raw(order), splits);
  if (splits > 0) stats::add(Counter::frame_splits, splits);
  relist(*block);
  return &hand_out(first_frame(frames_.number_of(*block)) + position, order);
}

// Finds the smallest whole run of at least `order` and keeps its low part; the caller holds it off every list.
Result<Frame*> Buddy::allocate_whole(Order order) {
  unsigned larger = raw(order);
  while (larger <= config::max_order &&
         lists_.heads[kPartialLists + larger - Pageblock::kWholeOrder] == Pageblock::kNone)
    ++larger;
  if (larger > config::max_order) return no_memory();
  const std::uint32_t number = lists_.heads[kPartialLists + larger - Pageblock::kWholeOrder];
  unlink(frames_.block(number));
  if (larger > raw(order)) stats::add(Counter::frame_splits, larger - raw(order));
  while (larger > raw(order)) {
    --larger;
    push_whole(number + (1u << (larger - Pageblock::kWholeOrder)), larger);
  }
  for (std::uint32_t block = number; block < number + frames_in(order) / kBlockFrames; ++block)
    frames_.block(block).take_whole();
  return &hand_out(first_frame(number), order);
}

// A wholly free pageblock, off every list, for small orders to break; nullptr when there is none.
Pageblock* Buddy::refill() {
  for (unsigned larger = Pageblock::kWholeOrder; larger <= config::max_order; ++larger) {
    const std::uint32_t number = lists_.heads[kPartialLists + larger - Pageblock::kWholeOrder];
    if (number == Pageblock::kNone) continue;
    Pageblock& block = frames_.block(number);
    unlink(block);
    if (larger > Pageblock::kWholeOrder) stats::add(Counter::frame_splits, larger - Pageblock::kWholeOrder);
    while (larger > Pageblock::kWholeOrder) {
      --larger;
      push_whole(number + (1u << (larger - Pageblock::kWholeOrder)), larger);
    }
    return &block;
  }
  return nullptr;
}

Error Buddy::no_memory() {
  ++lists_.failures;
  stats::add(Counter::frame_failures);
  return Error::no_memory;
}

Frame& Buddy::hand_out(FrameNumber number, Order order) {
  Frame& frame = frames_[number];
  CHECK(frame.state_order ==
        static_cast<std::uint8_t>(FrameState::managed));  // B5: a free frame is not in use
  frame.set(FrameState::allocated, order);
  frame.references.store(1, std::memory_order_relaxed);
  lists_.free_frames -= frames_in(order);
  if constexpr (config::poison_frames) verify_poison(number, order);
  stats::add(Counter::frame_allocations);
  stats::add(Counter::frames_free, -static_cast<std::int64_t>(frames_in(order)));
  return frame;
}

// ---- taking back ------------------------------------------------------------------------------------------------

Result<void> Buddy::release(FrameNumber number, Order order) {
  if (order > kMaxOrder) [[unlikely]]
    return Error::invalid;
  if (!frames_.has(number)) [[unlikely]]
    return refuse(number, order);
  Frame& frame = frames_[number];
  Frame expected{};
  expected.set(FrameState::allocated, order);
  if (frame.state_order != expected.state_order) [[unlikely]]
    return refuse(number, order);

  take_back(frame, number, order);
  if (raw(order) >= Pageblock::kWholeOrder) {
    release_whole(block_of(number), order);
    return {};
  }
  Pageblock& block = frames_.block(block_of(number));
  CHECK(block.all_taken(position_of(number), raw(order)));  // B5: an allocated block has no free frame
  unsigned merges = 0;
  block.give(position_of(number), raw(order), merges);
  if (block.free_frames == kBlockFrames) {
    if (block.list != Pageblock::kNoList) unlink(block);
    merges += merge_whole(block_of(number), Pageblock::kWholeOrder);
  } else {
    relist(block);
  }
  if (merges > 0) stats::add(Counter::frame_merges, merges);
  return {};
}

void Buddy::release_whole(std::uint32_t number, Order order) {
  for (std::uint32_t n = number; n < number + frames_in(order) / kBlockFrames; ++n) {
    Pageblock& block = frames_.block(n);
    CHECK(block.runs == 0 && block.free_frames == 0 && block.list == Pageblock::kNoList);  // B2, B5
    block.give_whole();
  }
  const unsigned merges = merge_whole(number, raw(order));
  if (merges > 0) stats::add(Counter::frame_merges, merges);
}

void Buddy::take_back(Frame& frame, FrameNumber number, Order order) {
  if constexpr (config::poison_frames) poison(number, order);
  frame.references.store(0, std::memory_order_relaxed);
  frame.tag = 0;
  frame.set(FrameState::managed);
  lists_.free_frames += frames_in(order);
  stats::add(Counter::frame_releases);
  stats::add(Counter::frames_free, static_cast<std::int64_t>(frames_in(order)));
}

Error Buddy::refuse(FrameNumber number, Order order) {
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

// ---- lists of pageblocks ----------------------------------------------------------------------------------------

// Precondition: the pageblock is partly free.
unsigned Buddy::list_for(const Pageblock& block) const {
  const unsigned fullness = block.free_frames * BuddyLists::kFullnesses / kBlockFrames;
  return fullness * BuddyLists::kPartialOrders + block.largest();
}

// Puts a pageblock that is not wholly free where B2 wants it.
void Buddy::relist(Pageblock& block) {
  const unsigned list = block.free_frames == 0 ? kLists : list_for(block);
  if (block.list == list + 1) return;
  if (block.list != Pageblock::kNoList) unlink(block);
  if (list < kLists) push(block, list);
}

void Buddy::push(Pageblock& block, unsigned list) {
  const std::uint32_t number = frames_.number_of(block);
  const std::uint32_t next = lists_.heads[list];
  block.list = static_cast<std::uint8_t>(list + 1);
  block.prev = Pageblock::kNone;
  block.next = next;
  if (next != Pageblock::kNone) {
    Pageblock& follower = frames_.block(next);
    CHECK(follower.prev == Pageblock::kNone);  // B3
    follower.prev = number;
  }
  lists_.heads[list] = number;
  if (list < kPartialLists) lists_.nonempty |= std::uint64_t{1} << list;
}

void Buddy::unlink(Pageblock& block) {
  const unsigned list = block.list - 1u;
  const std::uint32_t number = frames_.number_of(block);
  CHECK(list < kLists);
  if (block.prev == Pageblock::kNone) {
    CHECK(lists_.heads[list] == number);  // B3
    lists_.heads[list] = block.next;
    if (block.next == Pageblock::kNone && list < kPartialLists)
      lists_.nonempty &= ~(std::uint64_t{1} << list);
  } else {
    CHECK(frames_.block_present(block.prev) && frames_.block(block.prev).next == number);  // B3
    frames_.block(block.prev).next = block.next;
  }
  if (block.next != Pageblock::kNone) {
    CHECK(frames_.block_present(block.next) && frames_.block(block.next).prev == number);  // B3
    frames_.block(block.next).prev = block.prev;
  }
  block.list = Pageblock::kNoList;
  block.whole_order = 0;
  block.prev = block.next = 0;
}

void Buddy::push_whole(std::uint32_t number, unsigned order) {
  Pageblock& head = frames_.block(number);
  push(head, kPartialLists + order - Pageblock::kWholeOrder);
  head.whole_order = static_cast<std::uint8_t>(order);
}

// Lists the wholly free run at `number` after merging it with its buddies; returns how often it merged.
unsigned Buddy::merge_whole(std::uint32_t number, unsigned order) {
  unsigned merges = 0;
  for (; order < config::max_order; ++order, ++merges) {
    const std::uint32_t buddy = number ^ 1u << (order - Pageblock::kWholeOrder);
    if (!frames_.block_present(buddy)) break;
    Pageblock& other = frames_.block(buddy);
    if (other.list == Pageblock::kNoList || other.whole_order != order) break;
    unlink(other);
    number &= ~(1u << (order - Pageblock::kWholeOrder));
  }
  push_whole(number, order);
  return merges;
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
    if (block.list != Pageblock::kNoList) unlink(block);
    for (FrameNumber at = first; at < stop; ++at) {
      CHECK(frames_[at].state() == FrameState::reserved);
      frames_[at].set(FrameState::managed);
    }
    block.mark_free(position_of(first), static_cast<unsigned>(stop - first));
    block.recount();
    if (block.free_frames == kBlockFrames) {
      merge_whole(number, Pageblock::kWholeOrder);
    } else {
      relist(block);
    }
    first = stop;
  }
}

}  // namespace memory
