// Zone: a range of frames of one kind, with its allocator inside its lock.
// SPDX-License-Identifier: MIT
#pragma once
#include <string_view>

#include "mm/base/sync.hpp"
#include "mm/physical/buddy.hpp"

namespace memory {

// Levels of one zone, taken at one moment under its lock.
struct ZoneLevels {
  std::uint64_t free_frames;
  std::uint64_t managed_frames;
};

// What an outside reader follows to a zone. Standard layout; immutable after boot.
struct ZoneRecord {
  char name[16] = {};
  std::uint32_t first = 0xffff'ffff;  // frame numbers
  std::uint32_t end = 0;
  std::uint64_t present_frames = 0;
  const BuddyLists* lists = nullptr;
};

// [first, end) is rounded to 8 MiB, the largest block, so no block lies in two zones.
class Zone {
 public:
  static constexpr std::uint64_t kEdgeFrames = std::uint64_t{1} << config::max_order;

  // `name` has at most 15 characters.
  Zone(FrameTable& frames, std::string_view name);
  Zone(const Zone&) = delete;
  Zone& operator=(const Zone&) = delete;

  // As Buddy::allocate and Buddy::release. May be called in an interrupt handler.
  Result<Frame*> allocate(Order order) {
    return buddy_.with([order](Buddy& buddy) { return buddy.allocate(order); });
  }
  Result<void> release(FrameNumber number, Order order) {
    return buddy_.with([=](Buddy& buddy) { return buddy.release(number, order); });
  }

  // Gives `range` (present, reserved frames inside the zone) to the allocator.
  void donate(PhysRange range);

  std::string_view name() const { return record_.name; }
  FrameNumber first() const { return FrameNumber{record_.first}; }
  FrameNumber end() const { return FrameNumber{record_.end}; }
  std::uint64_t present_frames() const { return record_.present_frames; }
  bool contains(FrameNumber number) const { return first() <= number && number < end(); }
  const ZoneRecord& record() const { return record_; }

  // Widens the zone to the 8 MiB edges around `range`, whose frames are present.
  void span(PhysRange range);

  ZoneLevels levels() const;
  std::array<std::uint64_t, config::max_order + 1> free_blocks() const;
  bool valid() const;

 private:
  ZoneRecord record_;
  Guarded<Buddy, IrqSpin<Rank::zone>> buddy_;
};

}  // namespace memory
