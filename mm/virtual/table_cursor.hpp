// TableCursor: a place in a tree of page tables; TableStock: cleared tables in hand before they are needed.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>

#include "mm/physical/physical.hpp"
#include "mm/virtual/entry.hpp"

namespace memory {

// Says how many entries of the table are present.
inline void set_live(Frame& table, std::uint32_t live) {
  table.uses.store(Frame::uses_of(table.references(), live), std::memory_order_relaxed);
}
// So many more, or fewer. Changed under the tree's lock only, so one CPU at a time writes it.
inline void add_live(Frame& table, std::int32_t entries) {
  set_live(table, table.mappings() + static_cast<std::uint32_t>(entries));
}

// Stands at one entry and remembers the tables on the way down, so the next page below the same table costs no walk. Good
// as long as nobody else changes the tree.
class TableCursor {
 public:
  TableCursor(const FrameTable& frames, PageRoot root) : frames_(frames), top_(root.top), level_(root.top) {
    open(root.top, frame_at(root.table));
  }

  // Goes to the entry for `at` in a table of `level`, or stays above it, where the way down ends at an entry that is
  // absent or maps a larger page.
  void seek(VirtAddr at, PageLevel level) {
    PageLevel here = level_ < level ? level : level_;
    while (here != top_ && ((at.value ^ at_.value) >> shift_at(above(here))) != 0) here = above(here);
    at_ = at;
    for (; here != level; here = below(here)) {
      const PageEntry entry = at_level(here).load();
      if (!entry.present() || entry.maps(here)) break;
      open(below(here), frame_at(entry.address()));
    }
    level_ = here;
  }
  // One table up, to the entry that points to the one left.
  void up() { level_ = above(level_); }

  VirtAddr at() const { return at_; }
  // Of the table that the cursor stands in.
  PageLevel level() const { return level_; }
  FrameNumber table() const { return numbers_[raw(level_)]; }
  Frame& frame() const { return frames_[table()]; }
  unsigned index() const { return index_at(level_, at_); }
  AtomicEntry& entry() const { return at_level(level_); }
  // The entry `ahead` places further in the same table.
  AtomicEntry& entry(unsigned ahead) const { return (&at_level(level_))[ahead]; }

  // Present entries of the table.
  std::uint32_t live() const { return frame().mappings(); }
  void add_live(std::int32_t entries) const { memory::add_live(frame(), entries); }

 private:
  AtomicEntry& at_level(PageLevel level) const {
    return reinterpret_cast<AtomicEntry*>(windows_[raw(level)].bytes())[index_at(level, at_)];
  }
  void open(PageLevel level, FrameNumber number) {
    numbers_[raw(level)] = number;
    windows_[raw(level)] = frames_.open(number);
  }

  const FrameTable& frames_;
  const PageLevel top_;
  PageLevel level_;
  VirtAddr at_{};
  std::array<Window, kPageLevels> windows_;  // of the tables from level_ up
  std::array<FrameNumber, kPageLevels> numbers_;
};

// Owns the tables until they are taken; what is left goes back. They are chained through their Frames' `next`.
class TableStock {
 public:
  explicit TableStock(Physical& physical) : physical_(physical) {}
  ~TableStock();
  TableStock(const TableStock&) = delete;
  TableStock& operator=(const TableStock&) = delete;

  // Has so many more cleared tables. Fails with no_memory; those that were had stay.
  Result<void> add(std::size_t tables);

  // Precondition: one is left.
  FrameNumber take();
  LiveTable& open(FrameNumber table) const {
    return *reinterpret_cast<LiveTable*>(physical_.frames().open(table).bytes());
  }

 private:
  Physical& physical_;
  FrameNumber first_ = kNoFrame;
};

// What a table's Frame says while it is one.
void mark_table(Frame& frame, PageLevel level, PageRoot root, std::uint32_t live);
void unmark_table(Frame& frame);
bool is_table(const Frame& frame, PageLevel level, PageRoot root);

}  // namespace memory
