// Physical: all memory in frames; the frame array and the zones over it.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/physical/early.hpp"
#include "mm/physical/zone.hpp"

namespace memory {

class Inspector;

// What meminfo reports, in frames.
struct PhysicalLevels {
  std::uint64_t present;  // memory that the frame array describes
  std::uint64_t managed;  // given to the frame allocator
  std::uint64_t free;
  std::uint64_t reserved;  // present, never handed out
};

// What an outside reader follows from the manager. Standard layout; immutable after boot.
struct PhysicalRecord {
  const FrameMap* frames = nullptr;
  std::uint64_t zones = 0;
  std::array<const ZoneRecord*, 4> zone{};
  std::uint64_t early_frames = 0;  // that the early allocator gave out for good
};

class Physical {
 public:
  // Both windows and the direct map as FrameTable has them.
  Physical(Frame* frames, Pageblock* blocks, std::byte* direct_map)
      : frames_(frames, blocks, direct_map),
        zone_(frames_, "Normal"),
        record_{.frames = &frames_.map(), .zones = 1, .zone = {&zone_.record()}} {}

  // Describes all available memory of `info`, then takes over what `early` has left. Once.
  void start(const BootInfo& info, EarlyAllocator& early);

  // As Buddy::allocate and Buddy::release, from any CPU and from interrupt handlers.
  Result<Frame*> allocate(Order order) { return zone_.allocate(order); }
  Result<void> release(FrameNumber number, Order order);

  FrameTable& frames() { return frames_; }
  const FrameTable& frames() const { return frames_; }
  Zone& zone() { return zone_; }
  const Zone& zone() const { return zone_; }

  const PhysicalRecord& record() const { return record_; }

  PhysicalLevels levels() const;
  bool valid() const { return zone_.valid(); }

  // The values of /proc/meminfo, /proc/buddyinfo and /proc/zoneinfo, as far as this floor has them.
  void describe_meminfo(Inspector& to) const;
  void describe_buddyinfo(Inspector& to) const;
  void describe_zoneinfo(Inspector& to) const;
  // The Frames of [first, first + count) that are present.
  void describe_frames(Inspector& to, FrameNumber first, std::size_t count) const;

 private:
  FrameTable frames_;
  Zone zone_;
  PhysicalRecord record_;
};

}  // namespace memory
