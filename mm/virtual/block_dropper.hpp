// BlockDropper: gives blocks of frames to a FlushBatch while the entries that map them are taken out.
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <span>

#include "mm/base/check.hpp"
#include "mm/virtual/entry.hpp"
#include "mm/virtual/page_table.hpp"

namespace memory {

// Gives the frames behind entries that are taken out to the batch, a block at a time: its first frame knows how many the
// next entries must show.
class BlockDropper {
 public:
  BlockDropper(const FrameTable& frames, FlushBatch& flush) : frames_(frames), flush_(flush) {}
  BlockDropper(const BlockDropper&) = delete;
  BlockDropper& operator=(const BlockDropper&) = delete;

  // Takes out these, which map pages of 4 KiB.
  void take_out(std::span<AtomicEntry> entries) {
    for (std::size_t page = 0; page < entries.size();) {
      if (left_ == 0) begin(frame_at(entries[page].load().address()));
      const std::size_t end = page + std::min<std::size_t>(left_, entries.size() - page);
      left_ -= static_cast<std::uint32_t>(end - page);
      std::uint32_t number = next_;
      for (; page < end; ++page, ++number)
        CHECK(raw(frame_at(entries[page].exchange(PageEntry{}).address())) == number);
      next_ = number;
    }
  }
  bool between_blocks() const { return left_ == 0; }

 private:
  void begin(FrameNumber first) {
    const Frame& frame = frames_[first];
    CHECK(frame.state() == FrameState::allocated);
    next_ = raw(first);
    left_ = static_cast<std::uint32_t>(frames_in(frame.order()));
    flush_.drop(first, frame.order());
  }

  const FrameTable& frames_;
  FlushBatch& flush_;
  std::uint32_t next_ = 0;  // the frame that the next entry maps, of the block that is being taken out
  std::uint32_t left_ = 0;  // frames of it that are still mapped
};

// Takes out entries for pages of 4 KiB, which are present.
inline void take_out_pages(std::span<AtomicEntry> entries, BlockDropper& dropper, Unmapped what) {
  if (what == Unmapped::drop) return dropper.take_out(entries);
  for (AtomicEntry& entry : entries) entry.exchange(PageEntry{});
}

}  // namespace memory
