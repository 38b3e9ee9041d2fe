// Zone: edges, donation, levels.
// SPDX-License-Identifier: MIT
#include "mm/physical/zone.hpp"

#include <algorithm>

namespace memory {

Zone::Zone(FrameTable& frames, std::string_view name) : buddy_(frames) {
  CHECK(name.size() < sizeof record_.name);
  std::copy(name.begin(), name.end(), record_.name);
  buddy_.with([this](const Buddy& buddy) { record_.lists = &buddy.lists(); });
}

void Zone::span(PhysRange range) {
  if (range.empty()) return;
  constexpr std::uint64_t kEdgeBytes = kEdgeFrames * kPageSize;
  record_.first = std::min(record_.first, raw(frame_at(range.first.aligned_down(kEdgeBytes))));
  record_.end = std::max(record_.end, raw(frame_at(range.end.aligned_up(kEdgeBytes))));
  record_.present_frames += range.bytes() / kPageSize;
}

void Zone::donate(PhysRange range) {
  const FrameNumber first = frame_at(range.first);
  const std::size_t frames = range.bytes() / kPageSize;
  CHECK(contains(first) && first + frames <= end());
  buddy_.with([=](Buddy& buddy) { buddy.donate(first, frames); });
}

ZoneLevels Zone::levels() const {
  return buddy_.with([](const Buddy& buddy) {
    return ZoneLevels{.free_frames = buddy.free_frames(), .managed_frames = buddy.managed_frames()};
  });
}

std::array<std::uint64_t, config::max_order + 1> Zone::free_blocks() const {
  return buddy_.with([](const Buddy& buddy) { return buddy.free_blocks(); });
}

bool Zone::valid() const {
  return buddy_.with([](const Buddy& buddy) { return buddy.valid(); });
}

}  // namespace memory
