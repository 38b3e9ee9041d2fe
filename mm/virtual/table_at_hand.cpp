// PageTables: the short ways, for pages of the table that was changed last and for one page alone.
// SPDX-License-Identifier: MIT
//
// Theory. Whoever maps a page often unmaps it soon, and maps its neighbours. The table of 4 KiB entries where the last
// change was is remembered by the addresses that it maps (T6), so a change within it needs no way down. Where another table
// is needed, one page is still one entry: a single pass can look at it and change it, and no table is taken or split.
#include "mm/virtual/block_dropper.hpp"
#include "mm/virtual/table_checks.hpp"
#include "mm/virtual/table_cursor.hpp"

namespace memory {

// ---- the table at hand ------------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t place_of_table(VirtAddr at) { return at.value >> shift_at(PageLevel::two_mib); }

// Atomic loads are not vectorised; unrolled, the loop's own steps are a quarter.
bool all_present(std::span<const AtomicEntry> entries) {
  std::uint64_t common = ~std::uint64_t{0};
#pragma GCC unroll 4
  for (const AtomicEntry& entry : entries) common &= entry.load().bits();
  return PageEntry(common).present();
}
bool some_present(std::span<const AtomicEntry> entries) {
  std::uint64_t any = 0;
#pragma GCC unroll 4
  for (const AtomicEntry& entry : entries) any |= entry.load().bits();
  return PageEntry(any).present();
}

}  // namespace

bool PageTables::is_at_hand(VirtAddr at, std::uint64_t bytes) const {
  return place_of_table(at) == last_.place && bytes <= bytes_at(PageLevel::two_mib) &&
         place_of_table(at + (bytes - 1)) == last_.place;
}

void PageTables::remember(const TableCursor& cursor) {
  if (cursor.level() == PageLevel::page) last_ = {place_of_table(cursor.at()), cursor.table()};
}

// Writes entries for what `rows` calls its argument with: memory from one address to another, so many pages of it in all.
template <typename Rows>
Result<void> PageTables::map_at_hand(VirtAddr at, std::uint64_t pages, Protection how, Rows&& rows) {
  const Window table = physical_.frames().open(last_.number);
  const std::span entries(reinterpret_cast<AtomicEntry*>(table.bytes()) + index_at(PageLevel::page, at),
                          pages);
  if (some_present(entries)) return Error::exists;
  const std::uint64_t rights = PageEntry::leaf(PhysAddr{0}, PageLevel::page, how).bits();
  AtomicEntry* entry = entries.data();
  rows([&](PhysAddr first, PhysAddr end) {
    const std::uint64_t last = rights | end.value;
    for (std::uint64_t bits = rights | first.value; bits != last; bits += kPageSize)
      (entry++)->set(PageEntry(bits));
  });
  add_live(physical_.frames()[last_.number], static_cast<std::int32_t>(pages));
  return {};
}

Result<void> PageTables::map_row_at_hand(VirtAddr at, PhysAddr to, std::uint64_t bytes, Protection how) {
  return map_at_hand(at, bytes >> kPageShift, how, [=](auto&& row) { row(to, to + bytes); });
}

Result<void> PageTables::map_runs_at_hand(VirtAddr at, std::span<const FrameRun> runs, std::uint64_t frames,
                                          Protection how) {
  return map_at_hand(at, frames, how, [runs](auto&& row) {
    for (const FrameRun run : runs) row(address_of(FrameNumber{run.first}), address_of(FrameNumber{run.end}));
  });
}

Result<void> PageTables::unmap_at_hand(VirtAddr at, std::uint64_t bytes, FlushBatch& flush, Unmapped what) {
  const FrameTable& frames = physical_.frames();
  const auto pages = static_cast<unsigned>(bytes / kPageSize);
  {
    const Window table = frames.open(last_.number);
    const std::span entries(reinterpret_cast<AtomicEntry*>(table.bytes()) + index_at(PageLevel::page, at),
                            pages);
    if (!all_present(entries)) return Error::not_found;
    BlockDropper dropper(frames, flush);
    take_out_pages(entries, dropper, what);
    CHECK(dropper.between_blocks());
    flush.add(at, pages, kPageSize);
    add_live(frames[last_.number], -static_cast<std::int32_t>(pages));
  }
  if (frames[last_.number].mappings() == 0) {
    TableCursor cursor(frames, root_);
    cursor.seek(at, PageLevel::page);
    prune(cursor, flush);
  }
  return {};
}

// ---- one page ---------------------------------------------------------------------------------------------------

bool PageTables::map_one(VirtAddr at, PhysAddr to, PageLevel level, Protection how) {
  TableCursor cursor(physical_.frames(), root_);
  cursor.seek(at, level);
  if (cursor.level() != level || cursor.entry().load().present()) return false;
  cursor.entry().set(PageEntry::leaf(to, level, how));
  cursor.add_live(1);
  remember(cursor);
  return true;
}

Result<PageLevel> PageTables::unmap_page(VirtAddr at, FlushBatch& flush) {
  CHECK(&flush.tables() == this);
  const VirtAddr page = at.aligned_down(kPageSize);
  const Spin<Rank::page_table>::Hold hold(lock_);
  if (at == page && is_at_hand(at, kPageSize)) {
    TRY(unmap_at_hand(at, kPageSize, flush, Unmapped::keep));
    return PageLevel::page;
  }
  TRY(Result<void>(check(page, kPageSize)));
  TableCursor cursor(physical_.frames(), root_);
  cursor.seek(at, PageLevel::page);
  if (!cursor.entry().load().present()) return Error::not_found;
  const PageLevel level = cursor.level();
  if (!at.aligned_to(bytes_at(level))) return Error::invalid;
  cursor.entry().exchange(PageEntry{});
  flush.add(at);
  cursor.add_live(-1);
  remember(cursor);
  prune(cursor, flush);
  return level;
}

}  // namespace memory
