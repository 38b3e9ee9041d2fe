// Zone: a range of frames of one kind, with its allocator inside its lock and the watermarks that guard it.
// SPDX-License-Identifier: MIT
#pragma once
#include <string_view>

#include "mm/base/sync.hpp"
#include "mm/physical/buddy.hpp"

namespace memory {

// By address, ascending. A zone's number is in its Frames.
enum class ZoneKind : std::uint8_t {
  dma,      // below 16 MiB: what the oldest devices reach
  dma32,    // below 4 GiB
  normal,   // the rest of the direct map
  highmem,  // beyond the direct map
};
inline constexpr unsigned kZoneKinds = 4;
constexpr unsigned raw(ZoneKind kind) { return static_cast<unsigned>(kind); }

// Levels of one zone, taken at one moment under its lock.
struct ZoneLevels {
  std::uint64_t free_frames;
  std::uint64_t managed_frames;
};

// Free frames below which something happens. `minimum`: requests but Gfp::atomic are refused. `low` and `high`:
// where reclaim will start and stop.
struct Watermarks {
  std::uint64_t minimum = 0;
  std::uint64_t low = 0;
  std::uint64_t high = 0;
};

// What an outside reader follows to a zone. Standard layout. Written while memory is added.
struct ZoneRecord {
  char name[16] = {};
  std::atomic<std::uint32_t> first = 0xffff'ffff;  // [a] frame numbers
  std::atomic<std::uint32_t> end = 0;
  std::atomic<std::uint64_t> present_frames = 0;
  std::atomic<std::uint64_t> minimum = 0;  // watermarks, in frames
  std::atomic<std::uint64_t> low = 0;
  std::atomic<std::uint64_t> high = 0;
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

  // Takes a block out, as Buddy::take; it fails with no_memory, too, when fewer than `floor` frames would be left
  // free. May be called in an interrupt handler, as all that follows.
  Result<FrameNumber> take(Order order, std::uint64_t floor) {
    return buddy_.with([=](Buddy& buddy) -> Result<FrameNumber> {
      if (buddy.free_frames() < frames_in(order) + floor) return Error::no_memory;
      return buddy.take(order);
    });
  }
  // As Buddy::take_many: as many as `floor` allows.
  std::size_t take_many(Order order, std::span<std::uint32_t> blocks, std::uint64_t floor);

  // Brings blocks back, as Buddy::give and Buddy::give_many. Precondition: they lie in this zone.
  void give(FrameNumber number, Order order) {
    CHECK(contains(number));
    buddy_.with([=](Buddy& buddy) { buddy.give(number, order); });
  }
  void give_many(Order order, std::span<const std::uint32_t> blocks);

  // As Buddy::misuse_of.
  Error misuse_of(FrameNumber number, Order order) const {
    return buddy_.with([=](const Buddy& buddy) { return buddy.misuse_of(number, order); });
  }

  // As Buddy::count_all.
  void count_all() {
    buddy_.with([](Buddy& buddy) { buddy.count_all(); });
  }

  // Widens the zone to the 8 MiB edges around `range`, whose frames are present.
  void span(PhysRange range);

  // Gives `range` (present, reserved frames inside the zone) to the allocator, and sets the watermarks anew.
  void donate(PhysRange range);

  std::string_view name() const { return record_.name; }
  FrameNumber first() const { return FrameNumber{record_.first.load(std::memory_order_relaxed)}; }
  FrameNumber end() const { return FrameNumber{record_.end.load(std::memory_order_relaxed)}; }
  std::uint64_t present_frames() const { return record_.present_frames.load(std::memory_order_relaxed); }
  bool populated() const { return present_frames() != 0; }
  bool contains(FrameNumber number) const { return first() <= number && number < end(); }
  Watermarks watermarks() const;
  const ZoneRecord& record() const { return record_; }

  ZoneLevels levels() const;
  std::array<std::uint64_t, config::max_order + 1> free_blocks() const;
  bool valid() const;

 private:
  ZoneRecord record_;
  Guarded<Buddy, IrqSpin<Rank::zone>> buddy_;
};

}  // namespace memory
