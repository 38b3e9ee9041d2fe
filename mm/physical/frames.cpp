// FrameTable: makes frames present.
// SPDX-License-Identifier: MIT
#include "mm/physical/frames.hpp"

#include <algorithm>

namespace memory {

void FrameTable::add(PhysRange memory) {
  CHECK(memory.first.aligned_to(kPageSize) && memory.end.aligned_to(kPageSize));
  CHECK(memory.end.value <= FrameMap::kMaxSections * FrameMap::kFramesPerSection * kPageSize);
  if (memory.empty()) return;

  const FrameNumber first = frame_at(memory.first);
  const FrameNumber end = frame_at(memory.end);
  const std::uint32_t last_block = raw(end + (FrameMap::kFramesPerBlock - 1)) / FrameMap::kFramesPerBlock;
  for (std::uint32_t block = raw(first) / FrameMap::kFramesPerBlock; block < last_block; ++block)
    map_.sections[block / FrameMap::kBlocksPerSection] |= std::uint64_t{1}
                                                          << block % FrameMap::kBlocksPerSection;
  map_.limit = std::max(map_.limit, last_block * std::uint64_t{FrameMap::kFramesPerBlock});

  for (FrameNumber at = first; at < end; ++at) {
    Frame& frame = (*this)[at];
    CHECK(frame.state() == FrameState::absent);  // no frame is described twice
    frame.set(FrameState::reserved);
  }
  map_.present_frames += end - first;
  describe({raw(first), raw(end)});
}

// Appends to the ranges of the map, or widens the last one.
void FrameTable::describe(FrameRun added) {
  FrameRun* const last = map_.ranges == 0 ? nullptr : &map_.range[map_.ranges - 1];
  CHECK(last == nullptr || last->end <= added.first);
  if (last != nullptr && last->end == added.first) {
    last->end = added.end;
    return;
  }
  CHECK(map_.ranges < map_.range.size());
  map_.range[map_.ranges++] = added;
}

}  // namespace memory
