// Stress on every CPU at once: frames, and translations that change under those who read through them.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/result.hpp"

namespace kernel::shell {

struct CpuStressReport {
  std::uint64_t operations = 0;  // blocks allocated and released
  std::uint64_t allocations = 0;
  std::uint64_t releases = 0;
  std::uint64_t refused = 0;
  std::uint64_t remaps = 0;      // translations changed, each with a shootdown
  std::uint64_t reads = 0;       // through a translation that another CPU changes
  std::uint64_t crossings = 0;   // reads that saw the change under way
  std::uint64_t shootdowns = 0;  // as the counter has it
};

// Runs `operations` in all, shared out to one thread on each CPU, or fewer when keep_going() says no; asks it now and
// then. Panics when two own one frame, or a CPU reads through a translation that was flushed. Everything is given back
// but page tables. Fails with no_memory or too_big.
memory::Result<CpuStressReport> stress_cpus(std::uint64_t operations, std::uint64_t seed,
                                            bool (*keep_going)());

}  // namespace kernel::shell
