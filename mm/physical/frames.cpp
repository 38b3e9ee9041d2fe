// FrameTable: makes frames present.
// SPDX-License-Identifier: MIT
//
// Readers ask has() without a lock while memory is added. Frames are written before their pageblock gets its zone
// (release), and read after that was seen (acquire); in a pageblock that was present
// already an added frame goes from `absent` to `reserved`, and either answer is right for who asks meanwhile.
#include "mm/physical/frames.hpp"

#include <algorithm>

namespace memory {

namespace {

constexpr FrameRun run_of(PhysRange memory) {
  return {raw(frame_at(memory.first)), raw(frame_at(memory.end))};
}

}  // namespace

// Index of the first of the ranges that does not end below `run`.
std::size_t FrameTable::place_of(FrameRun run) const {
  std::size_t place = 0;
  while (place < map_.ranges && map_.range[place].end < run.first) ++place;
  return place;
}

Error FrameTable::addable(PhysRange memory) const {
  constexpr std::uint64_t kEnd = FrameMap::kMaxSections * FrameMap::kFramesPerSection * kPageSize;
  if (memory.empty() || memory.end < memory.first || !memory.first.aligned_to(kPageSize) ||
      !memory.end.aligned_to(kPageSize))
    return Error::invalid;
  if (memory.end.value > kEnd) return Error::too_big;
  const FrameRun run = run_of(memory);
  const std::size_t place = place_of(run);
  const FrameRun* const next = place < map_.ranges ? &map_.range[place] : nullptr;
  // `next` ends at run.first or above it; the one behind it may begin where `run` ends, not before.
  const bool touches_next = next != nullptr && next->end == run.first;
  const std::size_t behind = touches_next ? place + 1 : place;
  if (behind < map_.ranges && map_.range[behind].first < run.end) return Error::exists;
  const bool touches = touches_next || (behind < map_.ranges && map_.range[behind].first == run.end);
  return touches || map_.ranges < map_.range.size() ? Error::ok : Error::too_big;
}

void FrameTable::add(PhysRange memory, unsigned zone) {
  CHECK(addable(memory) == Error::ok);
  const FrameNumber first = frame_at(memory.first);
  const FrameNumber end = frame_at(memory.end);
  for (FrameNumber at = first; at < end; ++at) {
    Frame& frame = (*this)[at];
    CHECK(frame.state() == FrameState::absent);  // no frame is described twice
    frame.zone_node = static_cast<std::uint8_t>(zone);
    frame.set(FrameState::reserved);
  }
  describe(run_of(memory));
  map_.present_frames.fetch_add(end - first, std::memory_order_relaxed);

  const std::uint32_t last_block = raw(end + (FrameMap::kFramesPerBlock - 1)) / FrameMap::kFramesPerBlock;
  for (std::uint32_t block = raw(first) / FrameMap::kFramesPerBlock; block < last_block; ++block) {
    auto& place = map_.block_zone[block];
    const auto wanted = static_cast<std::uint8_t>(zone + 1);
    CHECK(place.load(std::memory_order_relaxed) == 0 || place.load(std::memory_order_relaxed) == wanted);
    place.store(wanted, std::memory_order_release);
    auto& section = map_.sections[block / FrameMap::kBlocksPerSection];
    section.fetch_or(std::uint64_t{1} << block % FrameMap::kBlocksPerSection, std::memory_order_release);
  }
  const std::uint64_t limit = last_block * std::uint64_t{FrameMap::kFramesPerBlock};
  if (limit > map_.limit.load(std::memory_order_relaxed)) map_.limit.store(limit, std::memory_order_release);
}

// Puts `added` in its place among the ranges, and joins it with those that it touches.
void FrameTable::describe(FrameRun added) {
  auto* const begin = map_.range.data();
  auto* const place = begin + place_of(added);
  auto* const end = begin + map_.ranges;
  auto* behind = place;
  if (behind != end && behind->end == added.first) added.first = (behind++)->first;
  if (behind != end && behind->first == added.end) added.end = (behind++)->end;
  if (behind == place) {
    std::copy_backward(place, end, end + 1);
    ++map_.ranges;
  } else if (behind == place + 2) {
    std::copy(behind, end, place + 1);
    end[-1] = {};
    --map_.ranges;
  }
  *place = added;
}

FrameNumber FrameTable::block_around(FrameNumber frame) const {
  for (unsigned order = 0; order <= config::max_order; ++order) {
    const FrameNumber head{raw(frame) & ~((1u << order) - 1)};
    if (!has(head)) break;
    const Frame& first = (*this)[head];
    const FrameState state = first.state();
    if ((state == FrameState::allocated || state == FrameState::cached) && raw(first.order()) >= order)
      return head;
  }
  return kNoFrame;
}

bool FrameTable::is_free(FrameNumber frame) const {
  const std::uint32_t number = raw(frame);
  if (block(number / Pageblock::kFrames).is_free(number % Pageblock::kFrames)) return true;
  const FrameNumber head = block_around(frame);
  return head != kNoFrame && (*this)[head].state() == FrameState::cached;
}

}  // namespace memory
