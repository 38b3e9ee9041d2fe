// The tables of all floors joined, ready for the record that outside readers start at.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/stats/record.hpp"

namespace memory::layout {

// Points the record at the counters, options, types, fields and enumerators.
void fill(stats::Record& record);

}  // namespace memory::layout
