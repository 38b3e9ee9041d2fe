#include "mm/physical/frames.hpp"

#include <algorithm>

namespace memory {

void FrameTable::add(PhysRange memory) {
  CHECK(memory.first.aligned_to(kPageSize) && memory.end.aligned_to(kPageSize));
  CHECK(memory.end.value <= kMaxSections * kFramesPerSection * kPageSize);
  if (memory.empty()) return;

  const FrameNumber first = frame_at(memory.first);
  const FrameNumber end = frame_at(memory.end);
  const std::uint32_t last_block = raw(end + (kFramesPerBlock - 1)) / kFramesPerBlock;
  for (std::uint32_t block = raw(first) / kFramesPerBlock; block < last_block; ++block)
    sections_[block / kBlocksPerSection] |= std::uint64_t{1} << block % kBlocksPerSection;
  limit_ = std::max(limit_, FrameNumber{last_block * static_cast<std::uint32_t>(kFramesPerBlock)});

  for (FrameNumber at = first; at < end; ++at) {
    Frame& frame = frames_[raw(at)];
    CHECK(frame.state() == FrameState::absent);  // no frame is described twice
    frame.set(FrameState::reserved);
  }
  present_frames_ += end - first;
}

}  // namespace memory
