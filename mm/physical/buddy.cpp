// Buddy: the lists of pageblocks and the way through them.
// SPDX-License-Identifier: MIT
//
// Theory. Blocks of orders 0-8 live inside one pageblock, which is a buddy system of its own (pageblock.cpp). Blocks
// of orders 9-11 are runs of 1, 2 or 4 wholly free pageblocks at multiples of their size, on one list for each order.
// Free pageblocks merge with their buddy pageblock as far as order 11.
//
// A partly free pageblock is on exactly one of 60 lists: six steps of fullness by ten sizes of its largest free block, 9
// standing for "uncounted, may be any". Bit 10 f + n of lists_.nonempty says that the list (fullness f, largest order n)
// has a pageblock; f = 0 is fullest. A request of order k fits every list with n >= k, so one AND with kFits[k] and the lowest set bit name the fullest
// pageblock that can serve it:
//
//   bit   59 .. 50          19 .. 10          9 .. 0
//         emptiest: 9..0    fuller: 9..0      fullest: largest free order 9..0
//
// Filling the fullest first lets the others drain: at half load after churn nearly all free memory is whole 2 MiB
// blocks again (docs/decisions.md has the comparison with a list for each order).
//
// Invariants, proved by valid():
//   B1  each pageblock keeps P1 and P2 of pageblock.cpp
//   B2  a pageblock is on the list that list_for() names, or is the inside of a whole run, or has nothing free
//   B3  lists_.nonempty and lists_.heads agree; links go both ways
//   B4  lists_.free_frames is the number of set bits
//   B5  each managed frame is free (bit set, Frame `managed` and clear) or covered by exactly one block that is out
//       (its first Frame `allocated`, or `cached` and clear); absent and reserved frames are never free
//   B6  no two free buddies of equal order exist, but for single frames of an uncounted pageblock
#include "mm/physical/buddy.hpp"

#include <algorithm>

#include "mm/base/bits.hpp"
#include "mm/stats/stats.hpp"

namespace memory {

using stats::Counter;

namespace {

constexpr unsigned kBlockFrames = Pageblock::kFrames;

// kFits[k]: the partial lists whose largest free block is, or may be, of order k or more.
constexpr auto kFits = [] {
  std::array<std::uint64_t, Pageblock::kWholeOrder> fits{};
  for (unsigned k = 0; k < fits.size(); ++k)
    for (unsigned bit = 0; bit < BuddyLists::kPartial; ++bit)
      if (bit % BuddyLists::kPartialOrders >= k) fits[k] |= std::uint64_t{1} << bit;
  return fits;
}();

// Fullness of a partly free pageblock, times the lists that each has.
constexpr unsigned fullness_lists(unsigned free_frames) {
  return free_frames * BuddyLists::kFullnesses / Pageblock::kFrames * BuddyLists::kPartialOrders;
}

// What Pageblock::list says of an uncounted one with so many free frames; of none and of all a value that is nobody's.
constexpr auto kUncountedList = [] {
  std::array<std::uint8_t, Pageblock::kFrames + 1> lists{};
  for (unsigned frames = 0; frames < lists.size(); ++frames)
    lists[frames] = static_cast<std::uint8_t>(
        frames % Pageblock::kFrames == 0 ? 0xff : 1 + fullness_lists(frames) + Pageblock::kWholeOrder);
  return lists;
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
  return fullness_lists(block.free_frames) + block.largest();
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
  return holds(number) && frames_.block(number).list == 1 + list;
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

// ---- out of the zone --------------------------------------------------------------------------------------------

inline void Buddy::count_free(std::int64_t frames) {
  lists_.free_frames += static_cast<std::uint64_t>(frames);
  stats::add(Counter::frames_free, frames);
}

inline void Buddy::leaves(Frame& frame, Order order) {
  CHECK(frame.is(FrameState::managed));  // B5: a free frame is not in use
  frame.set(FrameState::cached, order);
}

// The fullest pageblock that has a block of that order, 0-8, or a fresh one, on no list yet; kNone when there is none.
[[gnu::always_inline]] inline std::uint32_t Buddy::block_for(Order order) {
  const std::uint64_t fitting = lists_.nonempty & kFits[raw(order)];
  return fitting != 0 ? lists_.heads[lowest_bit(fitting)] : fresh_block();
}

// Orders 0-8. One that was not counted is, and then it may have to be another: each time that costs a recount, which the
// single frames that passed through it have saved more than once.
Result<FrameNumber> Buddy::take_part(Order order) {
  std::uint32_t number = block_for(order);
  while (number != Pageblock::kNone && frames_.block(number).uncounted()) [[unlikely]] {
    count(frames_.block(number), number);
    number = block_for(order);
  }
  if (number == Pageblock::kNone) [[unlikely]]
    return Error::no_memory;
  Pageblock& block = frames_.block(number);
  unsigned splits = 0;
  const unsigned position = block.take(raw(order), splits);
  stats::add(Counter::frame_splits, splits);
  relist(block, number);
  const FrameNumber first = first_frame(number) + position;
  leaves(frames_[first], order);
  count_free(-static_cast<std::int64_t>(frames_in(order)));
  return first;
}

// A whole pageblock for parts to be taken of, on no list yet.
[[gnu::noinline]] std::uint32_t Buddy::fresh_block() { return cut_run(Pageblock::kWholeOrder); }

// Orders 9-11.
Result<FrameNumber> Buddy::take_run(Order order) {
  CHECK(raw(order) - Pageblock::kWholeOrder <= config::max_order - Pageblock::kWholeOrder);
  const std::uint32_t number = cut_run(raw(order));
  if (number == Pageblock::kNone) [[unlikely]]
    return Error::no_memory;
  for (Pageblock& block : frames_.blocks(number, blocks_in(raw(order)))) block.take_whole();
  leaves(frames_[first_frame(number)], order);
  count_free(-static_cast<std::int64_t>(frames_in(order)));
  return first_frame(number);
}

std::size_t Buddy::take_many(Order order, std::span<std::uint32_t> blocks) {
  if (order == Order{0}) return take_singles(blocks);
  std::size_t count = 0;
  for (; count < blocks.size(); ++count) {
    const auto block = take(order);
    if (!block.ok()) break;
    blocks[count] = raw(block.take());
  }
  return count;
}

// A word of bits is up to 64 frames: they are read off it, not searched one by one.
std::size_t Buddy::take_singles(std::span<std::uint32_t> blocks) {
  std::uint32_t* const first = blocks.data();
  std::uint32_t* at = first;
  std::uint32_t* const end = first + blocks.size();
  while (at != end) {
    const std::uint32_t number = block_for(Order{0});
    if (number == Pageblock::kNone) break;
    Pageblock& block = frames_.block(number);
    stop_counting(block);
    Frame* const frames = frames_.map().frames;
    const std::uint32_t base = raw(first_frame(number));
    std::uint32_t* to = at;
    const unsigned taken = block.take_singles(static_cast<unsigned>(end - at), [&](unsigned position) {
      const std::uint32_t frame = base + position;
      leaves(frames[frame], Order{0});
      *to++ = frame;
    });
    at = to;
    CHECK(taken > 0);  // B2: a listed pageblock has a free frame
    relist(block, number);
  }
  count_free(first - at);
  return static_cast<std::size_t>(at - first);
}

// Free blocks become single frames.
inline void Buddy::stop_counting(Pageblock& block) {
  if (block.runs == Pageblock::kUncounted && block.free_frames != kBlockFrames) return;
  stats::add(Counter::frame_splits, block.stop_counting());
}

// Single frames become the blocks that they make.
[[gnu::noinline]] void Buddy::count(Pageblock& block, std::uint32_t number) {
  const unsigned before = block.free_frames;
  block.recount();
  CHECK(block.free_frames == before);  // P1
  stats::add(Counter::frame_merges, before - block.free_blocks());
  relist(block, number);
}

void Buddy::count_all() {
  for (std::uint32_t number = first_block_; number < end_block_; ++number)
    if (frames_.block_present(number) && frames_.block(number).uncounted())
      count(frames_.block(number), number);
}

// ---- back into the zone -----------------------------------------------------------------------------------------

inline void Buddy::returns(Frame& frame, Order order) {
  CHECK(frame.is(FrameState::cached, order));  // who brings it back has changed nothing about it
  frame.set(FrameState::managed);
}

// Puts a pageblock that was given frames where it belongs; returns how often it merged beyond itself.
[[gnu::always_inline]] inline unsigned Buddy::settle(Pageblock& block, std::uint32_t number) {
  if (block.free_frames == kBlockFrames) [[unlikely]]
    return whole_again(block, number);
  relist(block, number);
  return 0;
}

// A pageblock of which everything was given back joins the whole runs; returns how often it merged there.
[[gnu::noinline]] unsigned Buddy::whole_again(Pageblock& block, std::uint32_t number) {
  if (block.list != Pageblock::kNoList) move(block, number, Pageblock::kNoList);
  return merge_run(number, Pageblock::kWholeOrder);
}

// Orders 0-8.
void Buddy::give_part(FrameNumber first, Order order) {
  returns(frames_[first], order);
  const std::uint32_t number = block_of(first);
  Pageblock& block = frames_.block(number);
  CHECK(block.all_taken(position_of(first), raw(order)));  // B5: a block that is out has no free frame
  unsigned merges = 0;
  if (block.uncounted()) [[unlikely]] {
    block.give_unmerged(position_of(first), raw(order));
    stats::add(Counter::frame_splits, static_cast<std::int64_t>(frames_in(order)) - 1);
    if (block.free_frames == kBlockFrames) merges = kBlockFrames - 1;
  } else {
    block.give(position_of(first), raw(order), merges);
  }
  merges += settle(block, number);
  stats::add(Counter::frame_merges, merges);
  count_free(static_cast<std::int64_t>(frames_in(order)));
}

// Orders 9-11.
void Buddy::give_run(FrameNumber first, Order order) {
  returns(frames_[first], order);
  const std::uint32_t number = block_of(first);
  for (Pageblock& block : frames_.blocks(number, blocks_in(raw(order)))) {
    CHECK((block.runs | block.free_frames | block.list) == 0);  // B2, B5: nothing free, on no list
    block.give_whole();
  }
  const unsigned merges = merge_run(number, raw(order));
  stats::add(Counter::frame_merges, merges);
  count_free(static_cast<std::int64_t>(frames_in(order)));
}

void Buddy::give_many(Order order, std::span<const std::uint32_t> blocks) {
  if (order == Order{0}) return give_singles(blocks);
  for (const std::uint32_t block : blocks) {
    CHECK(covers(block_of(FrameNumber{block})));
    give(FrameNumber{block}, order);
  }
}

// Most stay on the list of an uncounted pageblock: then a bit and a count are all.
void Buddy::give_singles(std::span<const std::uint32_t> blocks) {
  // The compiler cannot know that what is written here changes none of these.
  Pageblock* const pageblocks = frames_.map().blocks;
  Frame* const frames = frames_.map().frames;
  const std::uint32_t first_number = first_block_;
  const std::uint32_t numbers = end_block_ - first_block_;
  unsigned merges = 0;
  for (const std::uint32_t frame : blocks) {
    const std::uint32_t number = block_of(FrameNumber{frame});
    CHECK(number - first_number < numbers);  // before anything that lies there is looked at
    returns(frames[frame], Order{0});
    Pageblock& block = pageblocks[number];
    std::uint64_t& word = block.free[frame % kBlockFrames / 64];
    CHECK((word >> frame % 64 & 1) == 0);  // B5
    const unsigned count = block.free_frames + 1u;
    if (block.list == kUncountedList[count]) [[likely]] {
      word |= std::uint64_t{1} << frame % 64;
      block.free_frames = static_cast<std::uint16_t>(count);
    } else {
      merges += give_single_slowly(block, number, frame % kBlockFrames);
    }
  }
  stats::add(Counter::frame_merges, merges);
  count_free(static_cast<std::int64_t>(blocks.size()));
}

// The pageblock is counted, or moves to another list.
[[gnu::noinline]] unsigned Buddy::give_single_slowly(Pageblock& block, std::uint32_t number,
                                                     unsigned position) {
  stop_counting(block);
  block.give_unmerged(position, 0);
  const unsigned merges = block.free_frames == kBlockFrames ? kBlockFrames - 1 : 0;
  return merges + settle(block, number);
}

Error Buddy::misuse_of(FrameNumber number, Order order) const {
  const Frame& frame = frames_[number];
  switch (frame.state()) {
    case FrameState::absent: return Error::wild_free;
    case FrameState::reserved: return Error::reserved_free;
    case FrameState::cached: return Error::double_free;
    case FrameState::managed:
      return frames_.block(block_of(number)).is_free(position_of(number)) ? Error::double_free
                                                                          : Error::interior_free;
    case FrameState::allocated: return frame.order() != order ? Error::wrong_order : Error::shared_free;
  }
  platform::panic("frame in a state that no frame has");
}

// ---- donation ---------------------------------------------------------------------------------------------------

void Buddy::cover(std::uint32_t first_block, std::uint32_t end_block) {
  first_block_ = std::min(first_block_, first_block);
  end_block_ = std::max(end_block_, end_block);
}

void Buddy::donate(FrameNumber first, std::size_t frames) {
  lists_.managed_frames += frames;
  lists_.free_frames += frames;
  const FrameNumber end = first + frames;
  while (first < end) {
    const std::uint32_t number = block_of(first);
    const FrameNumber stop = first_frame(number + 1) < end ? first_frame(number + 1) : end;
    Pageblock& block = frames_.block(number);
    if (block.uncounted()) count(block, number);  // what merges beforehand is traffic
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
