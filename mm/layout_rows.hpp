// The rows of all floors of mm/, joined at compile time: a home that has types of its own joins them to these.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>

// The lowest floor first: those above name its types.
#include "mm/stats/layout.hpp"
#define LAYOUT_DEF "mm/stats/layout.def"
#define LAYOUT_FLOOR stats
#include "mm/stats/layout_expand.inc"

#include "mm/heap/layout.hpp"
#include "mm/memory_manager.hpp"
#include "mm/physical/layout.hpp"
#include "mm/virtual/layout.hpp"

#define LAYOUT_DEF "mm/layout.def"
#define LAYOUT_FLOOR top
#include "mm/stats/layout_expand.inc"

namespace memory::layout {

inline constexpr auto kFields = memory::stats::join(stats::kFields, physical::kFields, heap::kFields,
                                                    virtual_memory::kFields, top::kFields);
inline constexpr auto kOwners = memory::stats::join(stats::kOwners, physical::kOwners, heap::kOwners,
                                                    virtual_memory::kOwners, top::kOwners);
inline constexpr auto kEnums =
    memory::stats::join(stats::kEnums, physical::kEnums, heap::kEnums, virtual_memory::kEnums, top::kEnums);
// For link_fields(), once all are there.
inline constexpr auto kUnlinkedTypes =
    memory::stats::join(stats::kTypes, physical::kTypes, heap::kTypes, virtual_memory::kTypes, top::kTypes);

// Points the record at these rows, and at the counters and options.
void fill(memory::stats::Record& record, std::span<const memory::stats::TypeRow> types,
          std::span<const memory::stats::FieldRow> fields, std::span<const memory::stats::EnumRow> enums);

}  // namespace memory::layout
