// Row, Runs, List: what a range of addresses is mapped to, for PageTables.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>

#include "mm/physical/frames.hpp"
#include "mm/virtual/entry.hpp"

namespace memory::map_source {

// Each says which level of page fits at an offset, with so many bytes left, and what is mapped there.

// Memory in a row, by the largest pages that fit.
struct Row {
  PhysAddr to;
  PageLevel largest;
  PageLevel level_for(VirtAddr at, std::uint64_t offset, std::uint64_t left) const {
    for (PageLevel level = largest; level != PageLevel::page; level = below(level)) {
      const std::uint64_t size = bytes_at(level);
      if (left >= size && at.aligned_to(size) && (to + offset).aligned_to(size)) return level;
    }
    return PageLevel::page;
  }
  PhysAddr address(std::uint64_t offset) const { return to + offset; }
};

// Frames in runs, asked for from the first to the last.
class Runs {
 public:
  explicit Runs(std::span<const FrameRun> runs) : runs_(runs) {}
  PageLevel level_for(VirtAddr, std::uint64_t, std::uint64_t) const { return PageLevel::page; }
  PhysAddr address(std::uint64_t offset) const {
    const std::uint64_t page = offset >> kPageShift;
    while (page - before_ >= runs_[at_].end - runs_[at_].first) {
      before_ += runs_[at_].end - runs_[at_].first;
      ++at_;
    }
    return address_of(FrameNumber{runs_[at_].first} + (page - before_));
  }

 private:
  std::span<const FrameRun> runs_;
  mutable std::size_t at_ = 0;        // the run that was asked for last,
  mutable std::uint64_t before_ = 0;  // and the frames before it
};

// Frames from a list.
struct List {
  std::span<const FrameNumber> frames;
  PageLevel level_for(VirtAddr, std::uint64_t, std::uint64_t) const { return PageLevel::page; }
  PhysAddr address(std::uint64_t offset) const { return address_of(frames[offset >> kPageShift]); }
};

}  // namespace memory::map_source
