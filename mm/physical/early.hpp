// EarlyAllocator: frames before there is a frame array. It hands over once and is refused from then on.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>

#include "mm/base/boot_info.hpp"
#include "mm/base/check.hpp"
#include "mm/base/result.hpp"

namespace memory {

// One CPU, no lock: it lives while the boot CPU is alone. What it hands out is never given back; those frames
// stay `reserved` for good. Keeps the available memory of a BootInfo less its reserved ranges, in ascending
// order.
class EarlyAllocator {
 public:
  // Frames from here upwards are taken first, so the memory below 16 MiB is left for devices that reach no
  // further.
  static constexpr PhysAddr kPreferred{16_MiB};

  // Hands out only frames that end at or below `reach`, because only those can be opened before the direct
  // map is.
  EarlyAllocator(const BootInfo& info, PhysAddr reach);

  // Returns the start of `frames` frames in a row, contents undefined. Fails with no_memory. Panics after
  // hand_over().
  Result<PhysAddr> allocate(std::size_t frames = 1);

  std::size_t allocated_frames() const { return allocated_frames_; }
  std::uint64_t free_bytes() const;
  // Free ranges that did not fit the table; their memory is lost.
  std::size_t dropped_ranges() const { return dropped_; }

  // Calls body(PhysRange) for every range that is still free, in ascending order, and ends this allocator's
  // service.
  template <typename Body>
  void hand_over(Body&& body) {
    CHECK(!handed_over_);
    handed_over_ = true;
    for (std::size_t n = 0; n < count_; ++n)
      if (!free_[n].empty()) body(free_[n]);
  }

 private:
  static constexpr std::size_t kRanges = config::max_memory_ranges + config::max_modules + 9;

  void add(PhysRange range);
  Result<PhysAddr> take(std::size_t frames, PhysAddr from, PhysAddr to);

  std::array<PhysRange, kRanges> free_{};  // ascending, disjoint; none crosses kPreferred
  std::size_t count_ = 0;
  std::size_t dropped_ = 0;
  std::size_t allocated_frames_ = 0;
  PhysAddr reach_;
  bool handed_over_ = false;
};

}  // namespace memory
