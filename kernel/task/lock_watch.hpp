// LockWatch: says which locks are waited for in vain, and shows who waits.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/sync.hpp"

namespace kernel::lock_watch {

// A wait longer than this is reported, once. 0: none is. Builds that do not check report nothing.
void set_limit(std::uint64_t ns);

// From a CPU's tick: looks at every CPU and thread now and then. Waits for no lock.
void on_tick(std::uint64_t ticks);

// How often a lock of that rank was not free, on all CPUs; how many CPUs and threads wait for one now.
std::uint64_t contended(memory::Rank rank);
unsigned waiting(memory::Rank rank);

}  // namespace kernel::lock_watch
