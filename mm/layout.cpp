// Joins the rows of all floors.
// SPDX-License-Identifier: MIT
#include "mm/layout.hpp"

#include "mm/layout_rows.hpp"

namespace memory::layout {

namespace {

constexpr auto kTypes = memory::stats::link_fields(kUnlinkedTypes, kOwners);

}  // namespace

void fill(memory::stats::Record& record, std::span<const memory::stats::TypeRow> types,
          std::span<const memory::stats::FieldRow> fields, std::span<const memory::stats::EnumRow> enums) {
  record.counters = memory::stats::table_of(memory::stats::counter_rows());
  record.options = memory::stats::table_of(memory::stats::option_rows());
  record.types = memory::stats::table_of(types);
  record.fields = memory::stats::table_of(fields);
  record.enums = memory::stats::table_of(enums);
}

void fill(memory::stats::Record& record) {
  fill(record, std::span(kTypes), std::span(kFields), std::span(kEnums));
}

}  // namespace memory::layout
