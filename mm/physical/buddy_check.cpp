// The proofs of the Buddy: what its fields say against what its bits and Frames hold. See buddy.cpp for
// B1-B6.
// SPDX-License-Identifier: MIT
#include "mm/base/bits.hpp"
#include "mm/physical/buddy.hpp"

namespace memory {

std::array<std::uint64_t, config::max_order + 1> Buddy::free_blocks() const {
  std::array<std::uint64_t, config::max_order + 1> blocks{};
  for (std::uint32_t number = first_block_; number < end_block_; ++number) {
    if (!frames_.block_present(number)) continue;
    Pageblock block = frames_.block(number);
    if (block.uncounted()) block.recount();
    for (unsigned order = 0; order < Pageblock::kWholeOrder; ++order)
      blocks[order] += block.free_blocks(order);
    if (block.whole_order != 0 && block.whole_order <= config::max_order) ++blocks[block.whole_order];
  }
  return blocks;
}

bool Buddy::valid() const {
  if (lists_.nonempty >> kPartialLists != 0) return false;  // B3
  std::uint64_t listed = 0;
  for (unsigned list = 0; list < kLists; ++list)
    if (!list_valid(list, listed)) return false;
  std::uint64_t free = 0;
  std::uint64_t managed = 0;
  for (std::uint32_t number = first_block_; number < end_block_; ++number)
    if (frames_.block_present(number)) {
      if (!listing_valid(frames_.block(number)) || !frames_valid(number, managed)) return false;
      free += frames_.block(number).free_frames;
    }
  return listed == free && free == lists_.free_frames && managed == lists_.managed_frames;  // B2, B4
}

// B2, B3 and B6 for one list; adds the free frames that its pageblocks (and the runs they head) hold.
bool Buddy::list_valid(unsigned list, std::uint64_t& frames) const {
  if (list < kPartialLists && (lists_.nonempty >> list & 1) != (lists_.heads[list] != Pageblock::kNone))
    return false;
  std::uint32_t prev = Pageblock::kNone;
  std::uint32_t steps = 0;
  for (std::uint32_t number = lists_.heads[list]; number != Pageblock::kNone; ++steps) {
    if (!holds(number) || steps > end_block_ - first_block_) return false;
    const Pageblock& block = frames_.block(number);
    if (block.list != list + 1 || block.prev != prev) return false;
    if (list < kPartialLists) {
      if (block.free_frames == 0 || block.free_frames == Pageblock::kFrames || list_for(block) != list)
        return false;
      frames += block.free_frames;
    } else {
      const unsigned order = list - kPartialLists + Pageblock::kWholeOrder;
      const std::uint32_t size = 1u << (order - Pageblock::kWholeOrder);
      if (block.whole_order != order || number % size != 0) return false;
      for (std::uint32_t at = number; at < number + size; ++at) {
        if (!frames_.block_present(at) || frames_.block(at).free_frames != Pageblock::kFrames) return false;
        if (at != number && frames_.block(at).list != Pageblock::kNoList) return false;
      }
      const std::uint32_t buddy = number ^ size;
      if (order < config::max_order && frames_.block_present(buddy) &&
          frames_.block(buddy).whole_order == order)
        return false;  // B6
      frames += frames_in(Order(static_cast<std::uint8_t>(order)));
    }
    prev = number;
    number = block.next;
  }
  return true;
}

// B1 and B2 for one pageblock's own words: partly free ones are on a partial list, wholly free ones head a
// run or lie inside of one, others are on none.
bool Buddy::listing_valid(const Pageblock& block) {
  if (!block.valid()) return false;
  const bool heads_run = block.whole_order != 0;
  if (heads_run != (block.list > kPartialLists)) return false;
  if (block.free_frames == 0) return block.list == Pageblock::kNoList;
  if (block.free_frames == Pageblock::kFrames) return heads_run || block.list == Pageblock::kNoList;
  return block.list != Pageblock::kNoList && !heads_run;
}

namespace {

// Of a block that is out of the zone.
bool is_head(const Frame& frame) {
  return frame.state() == FrameState::allocated || frame.state() == FrameState::cached;
}

// A free frame is used by nobody; only its poison may say something.
bool is_clear(const Frame& frame) {
  return frame.uses.load(std::memory_order_relaxed) == 0 && frame.tag == 0 && frame.index == 0 &&
         frame.prev == 0 && frame.next == 0 && frame.owner == 0;
}

}  // namespace

// B5 for one pageblock. A block of order 10 or 11 reaches over pageblocks; each of them looks for
// the head that covers it.
bool Buddy::frames_valid(std::uint32_t number, std::uint64_t& managed) const {
  const Pageblock& block = frames_.block(number);
  FrameNumber covered_to{number * Pageblock::kFrames};
  for (unsigned order = Pageblock::kWholeOrder + 1; order <= config::max_order; ++order) {
    const std::uint32_t head = number & ~((1u << (order - Pageblock::kWholeOrder)) - 1);
    if (head == number || !frames_.block_present(head)) continue;
    const Frame& frame = frames_[FrameNumber{head * Pageblock::kFrames}];
    if (is_head(frame) && raw(frame.order()) == order) covered_to = covered_to + Pageblock::kFrames;
  }
  for (unsigned position = 0; position < Pageblock::kFrames; ++position) {
    const FrameNumber at{number * Pageblock::kFrames + position};
    const Frame& frame = frames_[at];
    const bool is_free = block.is_free(position);
    switch (frame.state()) {
      case FrameState::absent:
      case FrameState::reserved:
        if (is_free || at < covered_to) return false;
        break;
      case FrameState::managed:
        ++managed;
        if (is_free == (at < covered_to)) return false;
        if (is_free && (!is_clear(frame) || frame.order() != Order{0})) return false;
        break;
      case FrameState::cached:
        if (!is_clear(frame)) return false;
        [[fallthrough]];
      case FrameState::allocated:
        ++managed;
        if (is_free || at < covered_to || frame.order() > kMaxOrder ||
            raw(at) % frames_in(frame.order()) != 0)
          return false;
        covered_to = at + frames_in(frame.order());
        break;
      default: return false;
    }
  }
  return true;
}

}  // namespace memory
