// Node: edges of the zones, fallback, what a lower zone keeps.
// SPDX-License-Identifier: MIT
#include "mm/physical/node.hpp"

#include <algorithm>

namespace memory {

namespace {

constexpr PhysAddr kDmaEnd{16_MiB};
constexpr PhysAddr kDma32End{4_GiB};

constexpr ZoneKind highest_for(Gfp flags) {
  if (has(flags, Gfp::dma)) return ZoneKind::dma;
  return has(flags, Gfp::highmem) ? ZoneKind::highmem : ZoneKind::normal;
}

}  // namespace

Node::Node(FrameTable& frames, PhysAddr direct_end)
    : zones_{{{frames, "DMA"}, {frames, "DMA32"}, {frames, "Normal"}, {frames, "HighMem"}}} {
  constexpr std::uint64_t kEdgeBytes = Zone::kEdgeFrames * kPageSize;
  constexpr PhysAddr kLimit{config::max_memory_gib * 1_GiB};
  const PhysAddr high = std::clamp(direct_end.aligned_down(kEdgeBytes), kDmaEnd, kLimit);
  edges_ = {FrameNumber{0}, frame_at(kDmaEnd), frame_at(std::min(kDma32End, high)), frame_at(high), kNoFrame};
  for (unsigned kind = 0; kind < kZoneKinds; ++kind) record_.zone[kind] = &zones_[kind].record();
}

ZoneKind Node::kind_of(FrameNumber number) const {
  unsigned kind = 0;
  while (kind + 1 < kZoneKinds && number >= edges_[kind + 1]) ++kind;
  return static_cast<ZoneKind>(kind);
}

void Node::choose_first_zones() {
  for (unsigned flags = 0; flags < kGfpEnd; ++flags) {
    unsigned kind = raw(highest_for(static_cast<Gfp>(flags)));
    while (kind > 0 && !zones_[kind].populated()) --kind;
    first_zone_[flags].store(static_cast<std::uint8_t>(kind), std::memory_order_relaxed);
  }
}

// As Linux, whose lowmem_reserve_ratio is 256 for its lower zones.
std::uint64_t Node::floor(ZoneKind kind, ZoneKind first, Gfp flags) const {
  constexpr std::uint64_t kProtectedShare = 256;
  const std::uint64_t minimum = has(flags, Gfp::atomic) ? 0 : zone(kind).watermarks().minimum;
  std::uint64_t above = 0;
  for (unsigned n = raw(kind) + 1; n <= raw(first); ++n) above += zones_[n].present_frames();
  return minimum + above / kProtectedShare;
}

}  // namespace memory
