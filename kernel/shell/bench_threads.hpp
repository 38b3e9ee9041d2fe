// bench_threads: what a thread costs, with its stack, from its making until it was joined.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/result.hpp"
#include "mm/benchmark.hpp"

namespace kernel::shell {

// Makes and joins so many threads, one after the other, each on this CPU; between two calls of `ticks` lies all of it. One
// operation is a thread. Memory is as before but for what is kept for the next thread. Fails as spawn().
memory::Result<memory::Measurement> bench_threads(std::uint64_t threads, std::uint64_t (*ticks)());

}  // namespace kernel::shell
