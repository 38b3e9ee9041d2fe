// The rows of the floor of objects for outside readers.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/heap/heap.hpp"
#include "mm/heap/kernel_heap.hpp"
#include "mm/heap/misuse_report.hpp"

#define LAYOUT_DEF "mm/heap/layout.def"
#define LAYOUT_FLOOR heap
#include "mm/stats/layout_expand.inc"
