// Node: the memory that one group of CPUs is nearest to, in zones.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/physical/gfp.hpp"
#include "mm/physical/zone.hpp"

namespace memory {

// What an outside reader follows to a node. Standard layout; immutable after boot. `zone` is indexed by ZoneKind; a
// zone without memory has no frames present.
struct NodeRecord {
  std::uint64_t number = 0;
  std::array<const ZoneRecord*, kZoneKinds> zone{};
};

// One node for now. Its zones, which of them serves a request, and down to which level.
class Node {
 public:
  // Frames from `direct_end` on are HIGHMEM; it is rounded down to the zones' edges, and at least 16 MiB.
  Node(FrameTable& frames, PhysAddr direct_end);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  Zone& zone(ZoneKind kind) { return zones_[raw(kind)]; }
  const Zone& zone(ZoneKind kind) const { return zones_[raw(kind)]; }
  std::span<Zone, kZoneKinds> zones() { return zones_; }
  std::span<const Zone, kZoneKinds> zones() const { return zones_; }

  ZoneKind kind_of(FrameNumber number) const;
  Zone& zone_of(FrameNumber number) { return zone(kind_of(number)); }

  // Calls body(ZoneKind, PhysRange) for the part of `range` in each zone, ascending.
  template <typename Body>
  void for_each_part(PhysRange range, Body&& body) const {
    for (unsigned kind = 0; kind < kZoneKinds; ++kind) {
      const PhysRange part = range.intersect(bytes_of(FrameRange{edges_[kind], edges_[kind + 1]}));
      if (!part.empty()) body(static_cast<ZoneKind>(kind), part);
    }
  }

  // After memory came into service: which zone a request asks first.
  void choose_first_zones();

  // The zone that a request asks first: the highest with memory that its flags allow; the lowest of all zones when none
  // has. Precondition: valid(flags).
  ZoneKind first_zone(Gfp flags) const {
    return static_cast<ZoneKind>(first_zone_[raw(flags)].load(std::memory_order_relaxed));
  }

  // Free frames that a request with these flags must leave in `kind` when it asks `first` first. A zone below the first
  // keeps a share for those who have no other.
  std::uint64_t floor(ZoneKind kind, ZoneKind first, Gfp flags) const;

  const NodeRecord& record() const { return record_; }

 private:
  std::array<Zone, kZoneKinds> zones_;
  std::array<FrameNumber, kZoneKinds + 1> edges_;                // [I] zone n is [edges_[n], edges_[n + 1])
  std::array<std::atomic<std::uint8_t>, kGfpEnd> first_zone_{};  // [a]
  NodeRecord record_;
};

}  // namespace memory
