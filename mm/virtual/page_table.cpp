// PageTables: ranges of entries.
// SPDX-License-Identifier: MIT
//
// Theory. Every change goes over its range twice with the same steps. The first pass looks: is everything absent, or
// present, as it must be; which tables will be needed. Then these are taken from Physical, all of them or none. The
// second pass cannot fail. A step is a run: entries of one table, one behind the other, that map pages of one size.
//
//   |  4 KiB run  |      2 MiB run, one table of the level above       | 4 KiB run |
//   at         2 MiB                                                 2 MiB     at + bytes
//
// A large page that is changed in part is split first: a table is filled with the same translations in the next smaller
// size, and put in its place by compare and exchange, since hardware may set A or D in the large entry meanwhile. Both
// entries translate alike, so it does not matter which of the two a CPU remembers until the parts are changed and
// flushed.
//
// A table whose last entry goes is taken out of the table above and dropped into the FlushBatch: CPUs remember tables,
// too. Three kinds stay although they are empty: the root; what was made at boot (`reserved`); and, in the kernel's half,
// what a root points to, because other roots have a copy of that entry.
//
// Most changes are of a few pages beside the last one, or of one page alone: table_at_hand.cpp has their short ways.
//
// Invariants, proved by valid():
//   T1  an entry that points leads to a table of the next lower level, marked so, of this tree, from one place only
//   T2  a table's live count is the number of its present entries
//   T3  no table is empty but those three
//   T4  an entry that maps is at most 1 GiB large, and aligned
//   T5  what user mode may use lies in the lower half
//   T6  the table that is remembered is where the tree has it
#include "mm/virtual/page_table.hpp"

#include <algorithm>

#include "mm/base/check.hpp"
#include "mm/virtual/block_dropper.hpp"
#include "mm/virtual/map_source.hpp"
#include "mm/virtual/table_checks.hpp"
#include "mm/virtual/table_cursor.hpp"

namespace memory {

namespace {

constexpr std::uint64_t kPhysicalEnd = PageEntry::kAddress + kPageSize;

// From `at` to the end of a table of that level, or of the range.
TableRun run_at(PageLevel level, VirtAddr at, std::uint64_t left) {
  const std::uint64_t pages =
      std::min<std::uint64_t>(kTableEntries - index_at(level, at), left >> shift_at(level));
  return {level, static_cast<unsigned>(pages)};
}

// The next run to map. The cursor stands at its first entry, or above, where tables are missing or a page is in the way.
template <typename Source>
TableRun next_run(TableCursor& cursor, VirtAddr at, std::uint64_t offset, std::uint64_t left,
                  const Source& source) {
  PageLevel level = source.level_for(at, offset, left);
  cursor.seek(at, level);
  while (level != PageLevel::page && cursor.level() == level) {  // where a table is, smaller pages go into it
    const PageEntry entry = cursor.entry().load();
    if (!entry.present() || entry.maps(level)) break;
    level = below(level);
    cursor.seek(at, level);
  }
  return run_at(level, at, left);
}

// The tables that the run needs and that no run before it needed, in a range that begins at `first`.
std::size_t new_tables(const TableCursor& cursor, TableRun run, VirtAddr first) {
  std::size_t tables = 0;
  for (PageLevel level = run.level; level != cursor.level(); level = above(level))
    if (cursor.at() == first || cursor.at().aligned_to(bytes_at(above(level)))) ++tables;
  return tables;
}

// The tables that it takes to split a page of `level`, so that [first, last] is covered by whole ones.
std::size_t splits_of(PageLevel level, VirtAddr first, VirtAddr last) {
  const std::uint64_t size = bytes_at(level);
  if (first.aligned_to(size) && (last + 1).aligned_to(size)) return 0;
  const std::uint64_t part = bytes_at(below(level));
  const VirtAddr low_end = first.aligned_down(part) + (part - 1);
  if (last <= low_end) return 1 + splits_of(below(level), first, last);
  return 1 + splits_of(below(level), first, low_end) + splits_of(below(level), last.aligned_down(part), last);
}

}  // namespace

// ---- roots ------------------------------------------------------------------------------------------------------

Result<PageRoot> PageTables::new_root(Physical& physical, PageLevel top) {
  TableStock stock(physical);
  TRY(stock.add(1));
  const FrameNumber table = stock.take();
  const PageRoot root{.table = address_of(table), .top = top};
  mark_table(physical.frames()[table], top, root, 0);
  return root;
}

void PageTables::free_root(Physical& physical, PageRoot root) {
  const FrameNumber table = frame_at(root.table);
  unmark_table(physical.frames()[table]);
  CHECK(physical.release(table, Order{0}).ok());  // which proves that nothing is mapped below it
}

void PageTables::enter() {
  const PreemptionOff stay;
  cpus_.fetch_or(std::uint64_t{1} << platform::percpu().number, std::memory_order_seq_cst);
  platform::load_root(root_.table, space_);
}

void PageTables::leave() {
  CHECK(space_ != SpaceId::kernel);  // its pages are in every space
  const PreemptionOff stay;
  platform::flush_space(space_);
  cpus_.fetch_and(~(std::uint64_t{1} << platform::percpu().number), std::memory_order_seq_cst);
}

// ---- map --------------------------------------------------------------------------------------------------------

Error PageTables::check(VirtAddr at, std::uint64_t bytes) const {
  if (!whole_pages(at, bytes)) return Error::invalid;
  const VirtAddr last = at + (bytes - 1);
  if (last < at || !root_.canonical(at) || !root_.canonical(last)) return Error::invalid;
  if (in_upper_half(last) && space_ != SpaceId::kernel) return Error::invalid;
  return in_upper_half(at) == in_upper_half(last) ? Error::ok : Error::invalid;
}

// Puts tables out of the stock where they are missing on the way to a run.
void PageTables::reach(TableCursor& cursor, VirtAddr at, PageLevel level, TableStock& stock) {
  while (cursor.level() != level) {
    const bool copies_miss_it = is_copied_ && cursor.level() == root_.top && in_upper_half(at);
    CHECK(!copies_miss_it);
    const FrameNumber table = stock.take();
    mark_table(physical_.frames()[table], below(cursor.level()), root_, 0);
    const User user = in_upper_half(at) ? User::no : User::yes;
    cursor.entry().set(PageEntry::table(address_of(table), user));
    cursor.add_live(1);
    cursor.seek(at, level);
  }
}

template <typename Source>
Result<std::size_t> PageTables::tables_for(TableCursor& cursor, VirtAddr first, std::uint64_t bytes,
                                           const Source& source) const {
  std::size_t tables = 0;
  for (std::uint64_t done = 0; done < bytes;) {
    TableRun run = next_run(cursor, first + done, done, bytes - done, source);
    if (cursor.level() != run.level) {
      if (cursor.entry().load().present()) return Error::exists;
      tables += new_tables(cursor, run, first);
    } else {
      for (unsigned page = 0; page < run.pages; ++page) {
        const PageEntry entry = cursor.entry(page).load();
        if (!entry.present()) continue;
        if (entry.maps(run.level)) return Error::exists;
        run.pages = page;  // a table: the next run goes below it
      }
    }
    done += run.bytes();
  }
  return tables;
}

template <typename Source>
Result<void> PageTables::map_from(VirtAddr at, std::uint64_t bytes, Protection how, const Source& source) {
  TRY(Result<void>(check(at, bytes)));
  if (!allowed(how, at)) return Error::invalid;
  TableStock stock(physical_);
  const Spin<Rank::page_table>::Hold hold(lock_);
  TableCursor cursor(physical_.frames(), root_);
  const std::size_t tables = TRY(tables_for(cursor, at, bytes, source));
  TRY(stock.add(tables));
  for (std::uint64_t done = 0; done < bytes;) {
    const TableRun run = next_run(cursor, at + done, done, bytes - done, source);
    reach(cursor, at + done, run.level, stock);
    const std::uint64_t size = bytes_at(run.level);
    unsigned page = 0;
    for (; page < run.pages && !cursor.entry(page).load().present(); ++page, done += size)
      cursor.entry(page).set(PageEntry::leaf(source.address(done), run.level, how));
    cursor.add_live(static_cast<std::int32_t>(page));
    remember(cursor);
  }
  return {};
}

Result<void> PageTables::map(VirtAddr at, PhysAddr to, std::uint64_t bytes, Protection how) {
  if (!to.aligned_to(kPageSize) || to.value >= kPhysicalEnd || bytes > kPhysicalEnd - to.value)
    return Error::invalid;
  const map_source::Row row{to, largest_};
  if (whole_pages(at, bytes) && allowed(how, at)) {
    const Spin<Rank::page_table>::Hold hold(lock_);
    if (is_at_hand(at, bytes)) return map_row_at_hand(at, to, bytes, how);
    const PageLevel level = row.level_for(at, 0, bytes);
    if (bytes == bytes_at(level) && check(at, bytes) == Error::ok && map_one(at, to, level, how)) return {};
  }
  return map_from(at, bytes, how, row);
}

Result<void> PageTables::map_pages(VirtAddr at, std::span<const FrameNumber> frames, Protection how) {
  return map_from(at, frames.size() * kPageSize, how, map_source::List{frames});
}

Result<void> PageTables::map_runs(VirtAddr at, std::span<const FrameRun> runs, std::uint64_t frames,
                                  Protection how) {
  const std::uint64_t bytes = frames * kPageSize;
  if (whole_pages(at, bytes) && allowed(how, at)) {
    const Spin<Rank::page_table>::Hold hold(lock_);
    if (is_at_hand(at, bytes)) return map_runs_at_hand(at, runs, frames, how);
  }
  return map_from(at, bytes, how, map_source::Runs(runs));
}

// ---- unmap and protect --------------------------------------------------------------------------------------------

// The tables that splitting at both ends takes. Fails with not_found where nothing is mapped.
Result<std::size_t> PageTables::splits_for(TableCursor& cursor, VirtAddr at, std::uint64_t bytes) const {
  std::size_t tables = 0;
  while (bytes > 0) {
    cursor.seek(at, PageLevel::page);
    const PageLevel level = cursor.level();
    if (!cursor.entry().load().present()) return Error::not_found;
    const std::uint64_t size = bytes_at(level);
    const std::uint64_t part = std::min(bytes, size - (at.value & (size - 1)));
    if (part != size) {
      tables += splits_of(level, at, at + (part - 1));
      at += part;
      bytes -= part;
      continue;
    }
    TableRun run = run_at(level, at, bytes);
    for (unsigned page = 1; page < run.pages; ++page) {
      const PageEntry entry = cursor.entry(page).load();
      if (!entry.present()) return Error::not_found;
      if (!entry.maps(level)) run.pages = page;
    }
    at += run.bytes();
    bytes -= run.bytes();
  }
  return tables;
}

// Replaces the large page at the cursor by a table of its parts.
void PageTables::split(TableCursor& cursor, TableStock& stock) {
  const PageLevel level = cursor.level();
  const FrameNumber table = stock.take();
  LiveTable& parts = stock.open(table);
  mark_table(physical_.frames()[table], below(level), root_, kTableEntries);
  PageEntry whole = cursor.entry().load();
  do {
    for (unsigned part = 0; part < kTableEntries; ++part) parts[part].set(whole.part(level, part));
  } while (!cursor.entry().replace(
      whole, PageEntry::table(address_of(table), in_upper_half(cursor.at()) ? User::no : User::yes)));
}

// The next run to change, of pages that lie wholly in the range: what does not is split.
TableRun PageTables::fit(TableCursor& cursor, VirtAddr at, std::uint64_t bytes, TableStock& stock) {
  for (;;) {
    cursor.seek(at, PageLevel::page);
    const std::uint64_t size = bytes_at(cursor.level());
    if (at.aligned_to(size) && bytes >= size) return run_at(cursor.level(), at, bytes);
    split(cursor, stock);
  }
}

// Takes out the table where the cursor stands if it is empty, and then the one above it.
void PageTables::prune(TableCursor& cursor, FlushBatch& flush) {
  while (cursor.live() == 0 && cursor.level() != root_.top) {
    const FrameNumber table = cursor.table();
    Frame& frame = cursor.frame();
    if (frame.state() == FrameState::reserved) return;
    cursor.up();
    if (cursor.level() == root_.top && in_upper_half(cursor.at())) return;
    cursor.entry().exchange(PageEntry{});
    cursor.add_live(-1);
    if (table == last_.number) last_ = LastTable{};
    unmark_table(frame);
    flush.drop(table);
  }
}

Result<void> PageTables::unmap(VirtAddr at, std::uint64_t bytes, FlushBatch& flush, Unmapped what) {
  CHECK(&flush.tables() == this);
  if (whole_pages(at, bytes)) {
    const Spin<Rank::page_table>::Hold hold(lock_);
    if (is_at_hand(at, bytes)) return unmap_at_hand(at, bytes, flush, what);
  }
  TRY(Result<void>(check(at, bytes)));
  TableStock stock(physical_);
  const Spin<Rank::page_table>::Hold hold(lock_);
  TableCursor cursor(physical_.frames(), root_);
  const std::size_t tables = TRY(splits_for(cursor, at, bytes));
  TRY(stock.add(tables));
  BlockDropper dropper(physical_.frames(), flush);
  while (bytes > 0) {
    const TableRun run = fit(cursor, at, bytes, stock);
    const std::uint64_t size = bytes_at(run.level);
    unsigned page = 0;
    if (run.level == PageLevel::page) {
      page = run.pages;
      take_out_pages({&cursor.entry(), page}, dropper, what);
    }
    for (; page < run.pages && cursor.entry(page).load().maps(run.level); ++page) {
      const PageEntry gone = cursor.entry(page).exchange(PageEntry{});
      if (what == Unmapped::drop)
        flush.drop(frame_at(gone.address(run.level)), Order(static_cast<std::uint8_t>(9 * raw(run.level))));
    }
    flush.add(at, page, size);
    cursor.add_live(-static_cast<std::int32_t>(page));
    remember(cursor);
    prune(cursor, flush);
    at += page * size;
    bytes -= page * size;
  }
  CHECK(dropper.between_blocks());
  return {};
}

Result<void> PageTables::protect(VirtAddr at, std::uint64_t bytes, Protection how, FlushBatch& flush) {
  TRY(Result<void>(check(at, bytes)));
  if (!allowed(how, at)) return Error::invalid;
  CHECK(&flush.tables() == this);
  TableStock stock(physical_);
  const Spin<Rank::page_table>::Hold hold(lock_);
  TableCursor cursor(physical_.frames(), root_);
  const std::size_t tables = TRY(splits_for(cursor, at, bytes));
  TRY(stock.add(tables));
  while (bytes > 0) {
    const TableRun run = fit(cursor, at, bytes, stock);
    const std::uint64_t size = bytes_at(run.level);
    unsigned page = 0;
    for (; page < run.pages; ++page) {
      AtomicEntry& entry = cursor.entry(page);
      PageEntry seen = entry.load();
      if (!seen.maps(run.level)) break;
      if (seen.with(how, run.level) == seen) continue;
      while (!entry.replace(seen, seen.with(how, run.level))) continue;
      flush.add(at + page * size);
    }
    at += page * size;
    bytes -= page * size;
  }
  return {};
}

// ---- look -------------------------------------------------------------------------------------------------------

Result<Translation> PageTables::query(VirtAddr at) const {
  if (!root_.canonical(at)) return Error::invalid;
  const Spin<Rank::page_table>::Hold hold(lock_);
  TableCursor cursor(physical_.frames(), root_);
  cursor.seek(at, PageLevel::page);
  const PageEntry entry = cursor.entry().load();
  if (!entry.present()) return Error::not_found;
  const PageLevel level = cursor.level();
  return Translation{.physical = entry.address(level) + (at.value & (bytes_at(level) - 1)),
                     .level = level,
                     .how = entry.protection(level),
                     .accessed = entry.accessed(),
                     .dirty = entry.dirty()};
}

Result<TablePath> PageTables::path(VirtAddr at) const {
  if (!root_.canonical(at)) return Error::invalid;
  TablePath path{};
  const Spin<Rank::page_table>::Hold hold(lock_);
  TableCursor cursor(physical_.frames(), root_);
  for (PageLevel level = root_.top;; level = below(level)) {
    cursor.seek(at, level);
    const PageEntry entry = cursor.entry().load();
    path.steps[path.count++] = {.level = level,
                                .table = address_of(cursor.table()),
                                .index = cursor.index(),
                                .entry = entry,
                                .live = cursor.live()};
    if (!entry.present() || entry.maps(level)) return path;
  }
}

}  // namespace memory
