// Static constructors. The release kernel has none; builds with unit tests register the tests by theirs.
// SPDX-License-Identifier: MIT
#pragma once

namespace kernel {

// Runs .init_array in order. Once, after interrupts and traps are in place.
void run_constructors();

}  // namespace kernel
