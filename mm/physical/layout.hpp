// The rows of the floor of frames for outside readers.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/physical/physical.hpp"

#define LAYOUT_DEF "mm/physical/layout.def"
#define LAYOUT_FLOOR physical
#include "mm/stats/layout_expand.inc"
