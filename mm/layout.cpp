// Joins the rows of all floors.
// SPDX-License-Identifier: MIT
#include "mm/layout.hpp"

// The lowest floor first: those above name its types.
#include "mm/stats/layout.hpp"
#define LAYOUT_DEF "mm/stats/layout.def"
#define LAYOUT_FLOOR stats
#include "mm/stats/layout_expand.inc"

#include "mm/heap/layout.hpp"
#include "mm/memory_manager.hpp"
#include "mm/physical/layout.hpp"

#define LAYOUT_DEF "mm/layout.def"
#define LAYOUT_FLOOR top
#include "mm/stats/layout_expand.inc"

namespace memory::layout {

namespace {

constexpr auto kFields = memory::stats::join(stats::kFields, physical::kFields, heap::kFields, top::kFields);
constexpr auto kOwners = memory::stats::join(stats::kOwners, physical::kOwners, heap::kOwners, top::kOwners);
constexpr auto kTypes = memory::stats::link_fields(
    memory::stats::join(stats::kTypes, physical::kTypes, heap::kTypes, top::kTypes), kOwners);
constexpr auto kEnums = memory::stats::join(stats::kEnums, physical::kEnums, heap::kEnums, top::kEnums);

}  // namespace

void fill(memory::stats::Record& record) {
  record.counters = memory::stats::table_of(memory::stats::counter_rows());
  record.options = memory::stats::table_of(memory::stats::option_rows());
  record.types = memory::stats::table_of(std::span(kTypes));
  record.fields = memory::stats::table_of(std::span(kFields));
  record.enums = memory::stats::table_of(std::span(kEnums));
}

}  // namespace memory::layout
