// Zone: edges, donation, watermarks, levels.
// SPDX-License-Identifier: MIT
#include "mm/physical/zone.hpp"

#include <algorithm>

namespace memory {

Zone::Zone(FrameTable& frames, std::string_view name) : buddy_(frames) {
  CHECK(name.size() < sizeof record_.name);
  std::copy(name.begin(), name.end(), record_.name);
  buddy_.with([this](const Buddy& buddy) { record_.lists = &buddy.lists(); });
}

std::size_t Zone::take_many(Order order, std::span<std::uint32_t> blocks, std::uint64_t floor) {
  return buddy_.with([=](Buddy& buddy) -> std::size_t {
    if (buddy.free_frames() <= floor) return 0;
    const std::uint64_t most = (buddy.free_frames() - floor) >> raw(order);
    return buddy.take_many(order, blocks.first(std::min<std::uint64_t>(blocks.size(), most)));
  });
}

void Zone::give_many(Order order, std::span<const std::uint32_t> blocks) {
  buddy_.with([=](Buddy& buddy) { buddy.give_many(order, blocks); });
}

void Zone::span(PhysRange range) {
  if (range.empty()) return;
  constexpr std::uint64_t kEdgeBytes = kEdgeFrames * kPageSize;
  const std::uint32_t first = raw(frame_at(range.first.aligned_down(kEdgeBytes)));
  const std::uint32_t end = raw(frame_at(range.end.aligned_up(kEdgeBytes)));
  buddy_.with([=](Buddy& buddy) { buddy.cover(first / Pageblock::kFrames, end / Pageblock::kFrames); });
  record_.first.store(std::min(raw(this->first()), first), std::memory_order_relaxed);
  record_.end.store(std::max(raw(this->end()), end), std::memory_order_relaxed);
  record_.present_frames.fetch_add(range.bytes() / kPageSize, std::memory_order_relaxed);
}

// The minimum is a 256th of the zone: 1 MiB of 256, for requests that cannot wait. Linux keeps the square root of
// 16 times the memory in KiB, which is 2 MiB there.
void Zone::donate(PhysRange range) {
  constexpr std::uint64_t kReserveShare = 256;
  const FrameNumber first = frame_at(range.first);
  const std::size_t frames = range.bytes() / kPageSize;
  CHECK(contains(first) && first + frames <= end());
  const std::uint64_t minimum = buddy_.with([=](Buddy& buddy) {
    buddy.donate(first, frames);
    return buddy.managed_frames() / kReserveShare;
  });
  record_.minimum.store(minimum, std::memory_order_relaxed);
  record_.low.store(minimum + minimum / 4, std::memory_order_relaxed);
  record_.high.store(minimum + minimum / 2, std::memory_order_relaxed);
}

Watermarks Zone::watermarks() const {
  return {.minimum = record_.minimum.load(std::memory_order_relaxed),
          .low = record_.low.load(std::memory_order_relaxed),
          .high = record_.high.load(std::memory_order_relaxed)};
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
