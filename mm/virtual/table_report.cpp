// Page tables: what they say of themselves.
// SPDX-License-Identifier: MIT
#include "mm/virtual/table_report.hpp"

#include "mm/base/format.hpp"

namespace memory {

namespace {

std::int64_t as_number(std::uint64_t value) { return static_cast<std::int64_t>(value); }

void hex_or_dash(Inspector& to, std::string_view name, bool known, std::uint64_t value) {
  if (known)
    to.hex(name, value);
  else
    to.text(name, "-");
}

// The first address that an entry of the root covers.
VirtAddr first_of(PageRoot root, unsigned index) { return root.canonical_form(index * bytes_at(root.top)); }

}  // namespace

EntryFlags::EntryFlags(PageEntry entry, PageLevel level) : text_{'-'}, count_(1) {
  if (!entry.present()) return;
  count_ = 0;
  const auto put = [&](char letter, bool set) { text_[count_++] = set ? letter : '-'; };
  put('r', true);
  put('w', entry.writable());
  put('x', entry.executable());
  put('u', entry.user());
  put('g', entry.maps(level) && entry.global());
  put('a', entry.accessed());
  put('d', entry.maps(level) && entry.dirty());
  put('h', level != PageLevel::page && entry.large());
}

void describe_path(PageRoot root, VirtAddr at, const TablePath& path, Inspector& to) {
  const TablePath::Step& last = path.steps[path.count - 1];
  const bool mapped = last.entry.present();
  to.begin_object("", Layout::lines);
  to.hex("address", at.value);
  hex_or_dash(to, "physical", mapped,
              last.entry.address(last.level).value + (at.value & (bytes_at(last.level) - 1)));
  to.number("page_kib", mapped ? as_number(bytes_at(last.level) / 1024) : 0, Unit::none);
  to.text("cache", mapped ? name_of(last.entry.protection(last.level).cache) : "-");
  to.begin_array("path", Layout::table);
  for (std::size_t n = 0; n < path.count; ++n) {
    const TablePath::Step& step = path.steps[n];
    to.begin_object("", Layout::row);
    to.text("level", name_of(step.level, root.top));
    to.hex("table", step.table.value);
    to.number("live", step.live, Unit::none);
    to.number("index", step.index, Unit::none);
    to.text("flags", EntryFlags(step.entry, step.level).view());
    to.hex("entry", step.entry.bits());
    to.end_object();
  }
  to.end_array();
  to.end_object();
}

void describe_root(const PageTables& tables, Inspector& to) {
  const PageRoot root = tables.root();
  to.begin_object("", Layout::lines);
  to.hex("root", root.table.value);
  to.number("levels", raw(root.top) + 1, Unit::none);
  to.begin_array("entries", Layout::table);
  for (unsigned index = 0; index < kTableEntries; ++index) {
    const VirtAddr first = first_of(root, index);
    const TablePath path = tables.path(first).take();
    const TablePath::Step& step = path.steps[0];
    if (!step.entry.present()) continue;
    to.begin_object("", Layout::row);
    to.number("index", index, Unit::none);
    to.hex("address", first.value);
    to.number("live", path.count > 1 ? path.steps[1].live : 0, Unit::none);
    to.text("flags", EntryFlags(step.entry, step.level).view());
    to.hex("entry", step.entry.bits());
    to.end_object();
  }
  to.end_array();
  to.end_object();
}

void describe_census(const PageTables& tables, Inspector& to) {
  const PageRoot root = tables.root();
  const TableCensus census = tables.census();
  std::uint64_t count = 0;
  for (const std::uint64_t of_level : census.tables) count += of_level;
  to.begin_object("", Layout::lines);
  to.hex("root", root.table.value);
  to.number("levels", raw(root.top) + 1, Unit::none);
  to.number("tables", as_number(count), Unit::none);
  to.number("boot_tables", as_number(census.reserved_tables), Unit::none);
  to.number("live_entries", as_number(census.live_entries), Unit::none);
  to.begin_array("by_level", Layout::table);
  for (PageLevel level = root.top;; level = below(level)) {
    to.begin_object("", Layout::row);
    to.text("level", name_of(level, root.top));
    to.number("tables", as_number(census.tables[raw(level)]), Unit::none);
    to.number("pages", as_number(census.leaves[raw(level)]), Unit::none);
    to.number("kib", as_number(census.leaves[raw(level)] * bytes_at(level) / 1024), Unit::none);
    to.end_object();
    if (level == PageLevel::page) break;
  }
  to.end_array();
  to.end_object();
}

}  // namespace memory
