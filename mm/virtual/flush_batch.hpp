// FlushBatch: collects changed translations and dropped frames, and gives the frames back when no CPU remembers them.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>

#include "mm/physical/physical.hpp"

namespace memory {

class PageTables;

// Flushes at the latest when it ends. It then waits for other CPUs, so it is declared outside of every `with`: flush()
// runs with interrupts on and with no spin lock held, and asserts both in debug builds. One thread's; takes any number of
// pages and frames and allocates nothing: dropped blocks are chained through their first Frame's `next`.
class [[nodiscard]] FlushBatch {
 public:
  // Beyond so many pages everything is flushed at once. bench/ measures where that begins to pay.
  static constexpr std::size_t kMostPages = 32;

  explicit FlushBatch(PageTables& tables) : tables_(tables) {}
  ~FlushBatch() { flush(); }
  FlushBatch(const FlushBatch&) = delete;
  FlushBatch& operator=(const FlushBatch&) = delete;

  // The translation of the page of any size at that address was changed or taken away.
  void add(VirtAddr page) {
    if (count_ < kMostPages) pages_[count_] = page;
    ++count_;
  }
  // The same for so many pages of `bytes` each, one behind the other.
  void add(VirtAddr first, std::size_t pages, std::uint64_t bytes) {
    const std::size_t end = count_ + pages;
    if (end <= kMostPages)  // else nobody asks which
      for (VirtAddr page = first; count_ < end; page += bytes) pages_[count_++] = page;
    count_ = end;
  }

  // Every translation of the tree was.
  void add_all() { count_ = kMostPages + 1; }

  // Releases an allocated block after the flush. Its owner has no more use for it; its Frame's `next` is the batch's.
  void drop(FrameNumber number, Order order = Order{0});

  // Every CPU that uses the space forgets what was added; then the dropped blocks go back. Nothing when nothing came.
  void flush();

  PageTables& tables() const { return tables_; }
  // What flush() has before it.
  std::size_t pages() const { return count_; }
  std::size_t dropped_blocks() const { return dropped_; }

 private:
  void forget_pages();
  void release_dropped();

  PageTables& tables_;
  std::size_t count_ = 0;
  std::size_t dropped_ = 0;
  FrameNumber first_dropped_ = kNoFrame;
  union {  // so that making a batch does not fill it
    std::array<VirtAddr, kMostPages> pages_;
  };
};

}  // namespace memory
