// PageTables: a tree of page tables in use; maps, unmaps, protects and finds ranges of pages.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <span>

#include "mm/base/sync.hpp"
#include "mm/virtual/entry.hpp"
#include "mm/virtual/flush_batch.hpp"

namespace memory {

class TableCursor;
class TableStock;

// Entries of one table, one behind the other, that map pages of one size.
struct TableRun {
  PageLevel level;
  unsigned pages;
  std::uint64_t bytes() const { return pages * bytes_at(level); }
};

// What an address leads to.
struct Translation {
  PhysAddr physical;  // of that very byte
  PageLevel level;    // of the entry that maps it
  Protection how;
  bool accessed;
  bool dirty;
};

// What becomes of the frames that unmap() takes out of a range.
enum class Unmapped : std::uint8_t {
  keep,  // they are somebody's
  drop,  // whole blocks were mapped, each by its frames in a row or by one page of its size; the batch releases them after
         // the flush
};

// The entries on the way to an address, from the root table down.
struct TablePath {
  struct Step {
    PageLevel level;
    PhysAddr table;
    unsigned index;
    PageEntry entry;
    std::uint32_t live;  // present entries of the table
  };
  std::array<Step, kPageLevels> steps;
  std::size_t count;
};

// Tables by level, and leaves by the level of their entry.
struct TableCensus {
  std::array<std::uint64_t, kPageLevels> tables{};
  std::array<std::uint64_t, kPageLevels> leaves{};
  std::uint64_t live_entries = 0;
  std::uint64_t reserved_tables = 0;  // made at boot, never freed
};

// Owns the tables below the root that it made, and none of the memory that is mapped. Every table's Frame says how many
// entries of it are present (`mappings`), its level (`index`), its root (`owner`) and that it is one (`tag`).
//
// Ranges are whole pages, not empty, and lie in one half of the canonical addresses, which is the lower one but in the
// kernel's own tree; anything else is `invalid`. All
// calls are atomic to each other (Rank::page_table), and change everything they are asked to or nothing. Tables come from
// Physical, in directly mapped memory: its failure is no_memory. Not from interrupt handlers.
class PageTables {
 public:
  // `root`: a cleared table of its own, or one that is adopted before anything else. `largest`: the largest page that
  // the CPU maps with (two_mib, or one_gib where CPUID has it). `physical` outlives it.
  PageTables(Physical& physical, PageRoot root, PageLevel largest, SpaceId space = SpaceId::kernel)
      : physical_(physical), root_(root), largest_(largest), space_(space) {}
  PageTables(const PageTables&) = delete;
  PageTables& operator=(const PageTables&) = delete;

  // A cleared root table for a tree of that height. Give it back with free_root(), when nothing is mapped below it and no
  // CPU has it.
  static Result<PageRoot> new_root(Physical& physical, PageLevel top);
  static void free_root(Physical& physical, PageRoot root);

  // Counts what is present in tables that others made, and marks their frames. Again whenever others added to them.
  void adopt();

  // Maps [at, at + bytes) to [to, to + bytes) with the largest pages that fit. Fails with exists where a part is mapped.
  Result<void> map(VirtAddr at, PhysAddr to, std::uint64_t bytes, Protection how);
  // Maps these frames one behind the other, as pages of 4 KiB.
  Result<void> map_pages(VirtAddr at, std::span<const FrameNumber> frames, Protection how);
  // The same for so many frames in runs, none of them empty.
  Result<void> map_runs(VirtAddr at, std::span<const FrameRun> runs, std::uint64_t frames, Protection how);

  // Both split pages that the range covers in part. They fail with not_found where a part is not mapped. What changed is
  // added to `flush`, which is of this tree, and tables that became empty are dropped there.
  Result<void> unmap(VirtAddr at, std::uint64_t bytes, FlushBatch& flush, Unmapped what = Unmapped::keep);
  Result<void> protect(VirtAddr at, std::uint64_t bytes, Protection how, FlushBatch& flush);

  // Unmaps the page of any size that begins at `at`, as unmap(); how large it was. Fails with not_found, and with invalid
  // inside of a page.
  Result<PageLevel> unmap_page(VirtAddr at, FlushBatch& flush);

  // Takes every table below the root out of a tree that is not the kernel's, whatever they map, and empties the root: all
  // that may follow is free_root(). No CPU has it, or will.
  void clear(FlushBatch& flush);

  // A new tree's root shows what the kernel's does in its half. The kernel's gets no further entry there from now on, since
  // nobody would copy it: mapping where one would be needed panics.
  void show_kernel(const PageTables& kernel);

  // Fails with not_found, or invalid where the address is not canonical.
  Result<Translation> query(VirtAddr at) const;
  Result<TablePath> path(VirtAddr at) const;
  TableCensus census() const;

  // This CPU uses the tree from now on: said first, then the root is loaded.
  void enter();
  // This CPU, which has loaded another root, forgets all of it, and is not asked again.
  void leave();
  // The CPUs that may remember something of it.
  std::uint64_t cpus() const { return cpus_.load(std::memory_order_seq_cst); }

  PageRoot root() const { return root_; }
  SpaceId space() const { return space_; }
  Physical& physical() const { return physical_; }

  // Proves the invariants in page_table.cpp. O(entries).
  bool valid() const;

 private:
  template <typename Source>
  Result<void> map_from(VirtAddr at, std::uint64_t bytes, Protection how, const Source& source);
  template <typename Source>
  Result<std::size_t> tables_for(TableCursor& cursor, VirtAddr at, std::uint64_t bytes,
                                 const Source& source) const;
  Error check(VirtAddr at, std::uint64_t bytes) const;
  Result<std::size_t> splits_for(TableCursor& cursor, VirtAddr at, std::uint64_t bytes) const REQUIRES(lock_);
  void reach(TableCursor& cursor, VirtAddr at, PageLevel level, TableStock& stock) REQUIRES(lock_);
  TableRun fit(TableCursor& cursor, VirtAddr at, std::uint64_t bytes, TableStock& stock) REQUIRES(lock_);
  void split(TableCursor& cursor, TableStock& stock) REQUIRES(lock_);
  void prune(TableCursor& cursor, FlushBatch& flush) REQUIRES(lock_);
  bool is_at_hand(VirtAddr at, std::uint64_t bytes) const REQUIRES(lock_);
  void remember(const TableCursor& cursor) REQUIRES(lock_);
  template <typename Rows>
  Result<void> map_at_hand(VirtAddr at, std::uint64_t pages, Protection how, Rows&& rows) REQUIRES(lock_);
  Result<void> map_row_at_hand(VirtAddr at, PhysAddr to, std::uint64_t bytes, Protection how) REQUIRES(lock_);
  Result<void> map_runs_at_hand(VirtAddr at, std::span<const FrameRun> runs, std::uint64_t frames,
                                Protection how) REQUIRES(lock_);
  // False, and nothing is changed, where it takes more than writing one absent entry.
  bool map_one(VirtAddr at, PhysAddr to, PageLevel level, Protection how) REQUIRES(lock_);
  Result<void> unmap_at_hand(VirtAddr at, std::uint64_t bytes, FlushBatch& flush, Unmapped what)
      REQUIRES(lock_);
  unsigned own_entries() const;

  Physical& physical_;
  const PageRoot root_;
  const PageLevel largest_;
  const SpaceId space_;
  std::atomic<std::uint64_t> cpus_{0};   // [a] may remember something; see enter()
  mutable Spin<Rank::page_table> lock_;  // over the tables and their live counts

  // The table of 4 KiB entries that was changed last: the next change is nearly always beside it, and needs no way down.
  struct LastTable {
    static constexpr std::uint64_t kNone = ~std::uint64_t{0};
    std::uint64_t place = kNone;  // the addresses that it maps, by their bits above its reach
    FrameNumber number = kNoFrame;
  };
  LastTable last_ GUARDED_BY(lock_);
  mutable bool is_copied_ GUARDED_BY(lock_) = false;  // whether other roots show the upper half of this one
};

}  // namespace memory
