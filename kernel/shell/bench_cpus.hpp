// bench_cpus: the common request on several CPUs at once, where only time can tell what they cost each other.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/result.hpp"

namespace kernel::shell {

struct CpuBenchRow {
  unsigned cpus = 0;
  std::uint64_t pairs = 0;  // that each of them made
  std::uint64_t ns = 0;     // that the slowest took, from the moment when all were there
};

// Allocates and frees a frame `pairs` times on each of the first `cpus` CPUs at once, by a thread that stays there.
// Memory is as before. Fails as spawn(), and with no_memory. One run at a time. Precondition: 1 <= cpus <= cpu_count().
memory::Result<CpuBenchRow> bench_cpus(unsigned cpus, std::uint64_t pairs);

}  // namespace kernel::shell
