// PageTables over the whole tree: adoption, census, proof.
// SPDX-License-Identifier: MIT
#include "mm/virtual/page_table.hpp"
#include "mm/virtual/table_cursor.hpp"

namespace memory {

namespace {

// The tables of a tree, each before those below it. Visitor: enter(number, level) says whether to go on, leaf(entry,
// level, at), leave(number, level, present).
template <typename Visitor>
class Walk {
 public:
  Walk(const FrameTable& frames, PageRoot root, unsigned roots_entries, Visitor& visitor)
      : frames_(frames), root_(root), root_entries_(roots_entries), visitor_(visitor) {}

  void run() { table(frame_at(root_.table), root_.top, 0); }

 private:
  void table(FrameNumber number, PageLevel level, std::uint64_t base) {
    if (!visitor_.enter(number, level)) return;
    const Window window = frames_.open(number);
    const auto& entries = *reinterpret_cast<const LiveTable*>(window.bytes());
    const unsigned end = level == root_.top ? root_entries_ : kTableEntries;
    std::uint32_t present = 0;
    for (unsigned index = 0; index < kTableEntries; ++index) {
      const PageEntry entry = entries[index].load();
      if (!entry.present()) continue;
      ++present;
      if (index >= end) continue;
      const std::uint64_t bits = base + index * bytes_at(level);
      if (entry.maps(level))
        visitor_.leaf(entry, level, root_.canonical_form(bits));
      else
        table(frame_at(entry.address()), below(level), bits);
    }
    visitor_.leave(number, level, present, root_.canonical_form(base));
  }

  const FrameTable& frames_;
  const PageRoot root_;
  const unsigned root_entries_;
  Visitor& visitor_;
};

struct Adopter {
  const FrameTable& frames;
  PageRoot root;
  bool enter(FrameNumber, PageLevel) { return true; }
  void leaf(PageEntry, PageLevel, VirtAddr) {}
  void leave(FrameNumber number, PageLevel level, std::uint32_t present, VirtAddr) {
    mark_table(frames[number], level, root, present);
  }
};

struct Counter {
  const FrameTable& frames;
  TableCensus census{};
  bool enter(FrameNumber number, PageLevel level) {
    ++census.tables[raw(level)];
    if (frames[number].state() == FrameState::reserved) ++census.reserved_tables;
    return true;
  }
  void leaf(PageEntry, PageLevel level, VirtAddr) { ++census.leaves[raw(level)]; }
  void leave(FrameNumber, PageLevel, std::uint32_t present, VirtAddr) { census.live_entries += present; }
};

// T1 to T5. Every table's owner is the root, and its `prev` holds a mark while the walk is on: twice met is twice there.
struct Prover {
  const FrameTable& frames;
  PageRoot root;
  bool holds = true;

  bool enter(FrameNumber number, PageLevel level) {
    const bool good = frames.has(number) && is_table(frames[number], level, root) && frames[number].prev == 0;
    holds = holds && good;
    return good;
  }
  void leaf(PageEntry entry, PageLevel level, VirtAddr at) {
    holds = holds && level <= PageLevel::one_gib && entry.address(level).aligned_to(bytes_at(level)) &&
            !(entry.user() && at.value >> 63 != 0);
  }
  void leave(FrameNumber number, PageLevel level, std::uint32_t present, VirtAddr at) {
    Frame& frame = frames[number];
    const bool stays = level == root.top || frame.state() == FrameState::reserved ||
                       (above(level) == root.top && at.value >> 63 != 0);
    holds = holds && frame.mappings() == present && (present > 0 || stays);
    frame.prev = 1;
  }
};

struct Clearer {
  const FrameTable& frames;
  PageRoot root;
  FlushBatch& flush;
  bool enter(FrameNumber, PageLevel) { return true; }
  void leaf(PageEntry, PageLevel, VirtAddr) {}
  void leave(FrameNumber number, PageLevel level, std::uint32_t, VirtAddr) {
    if (level == root.top) return;
    unmark_table(frames[number]);
    set_live(frames[number], 0);
    flush.drop(number);
  }
};

struct Unmarker {
  const FrameTable& frames;
  bool enter(FrameNumber number, PageLevel) {
    if (!frames.has(number) || frames[number].prev == 0) return false;
    frames[number].prev = 0;
    return true;
  }
  void leaf(PageEntry, PageLevel, VirtAddr) {}
  void leave(FrameNumber, PageLevel, std::uint32_t, VirtAddr) {}
};

}  // namespace

// What lies in the kernel's half is the kernel's own tree's.
unsigned PageTables::own_entries() const {
  return space_ == SpaceId::kernel ? kTableEntries : kTableEntries / 2;
}

void PageTables::adopt() {
  const Spin<Rank::page_table>::Hold hold(lock_);
  Adopter adopter{physical_.frames(), root_};
  Walk(physical_.frames(), root_, own_entries(), adopter).run();
}

TableCensus PageTables::census() const {
  const Spin<Rank::page_table>::Hold hold(lock_);
  Counter counter{physical_.frames()};
  Walk(physical_.frames(), root_, own_entries(), counter).run();
  return counter.census;
}

void PageTables::clear(FlushBatch& flush) {
  CHECK(space_ != SpaceId::kernel && cpus() == 0 && &flush.tables() == this);
  const Spin<Rank::page_table>::Hold hold(lock_);
  Clearer clearer{physical_.frames(), root_, flush};
  Walk(physical_.frames(), root_, own_entries(), clearer).run();
  const FrameNumber table = frame_at(root_.table);
  platform::clear_page(physical_.frames().open(table).bytes());
  set_live(physical_.frames()[table], 0);
}

void PageTables::show_kernel(const PageTables& kernel) {
  CHECK(space_ != SpaceId::kernel && kernel.root_.top == root_.top);
  const Spin<Rank::page_table>::Hold hold(kernel.lock_);
  kernel.is_copied_ = true;
  TableCursor from(physical_.frames(), kernel.root_);
  TableCursor to(physical_.frames(), root_);
  std::int32_t shown = 0;
  for (unsigned index = kTableEntries / 2; index < kTableEntries; ++index) {
    const PageEntry entry = from.entry(index).load();  // both stand at the first entry of their root
    if (!entry.present()) continue;
    to.entry(index).set(entry);
    ++shown;
  }
  to.add_live(shown);
}

bool PageTables::valid() const {
  const Spin<Rank::page_table>::Hold hold(lock_);
  Prover prover{physical_.frames(), root_};
  Walk(physical_.frames(), root_, own_entries(), prover).run();
  Unmarker unmarker{physical_.frames()};
  Walk(physical_.frames(), root_, own_entries(), unmarker).run();
  if (last_.place != LastTable::kNone) {  // T6
    TableCursor cursor(physical_.frames(), root_);
    cursor.seek(VirtAddr{last_.place << shift_at(PageLevel::two_mib)}, PageLevel::page);
    if (cursor.level() != PageLevel::page || cursor.table() != last_.number) return false;
  }
  return prover.holds;
}

}  // namespace memory
