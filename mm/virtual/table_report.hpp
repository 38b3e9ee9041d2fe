// What page tables say of themselves to people and programs: the way to an address, the root, numbers by level.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/stats/inspector.hpp"
#include "mm/virtual/page_table.hpp"

namespace memory {

// "rwxugadh", a dash for each bit that is not set; a lone dash for an entry that is absent. h: a large page.
class EntryFlags {
 public:
  EntryFlags(PageEntry entry, PageLevel level);
  std::string_view view() const { return {text_.data(), count_}; }

 private:
  std::array<char, 8> text_;
  std::size_t count_;
};

// A row for each level down to where the way ends; `path` is tables.path(at).
void describe_path(PageRoot root, VirtAddr at, const TablePath& path, Inspector& to);

// A row for each present entry of the root.
void describe_root(const PageTables& tables, Inspector& to);

// Tables, and the pages that their entries map, by level. O(entries), with the tree's lock held.
void describe_census(const PageTables& tables, Inspector& to);

}  // namespace memory
