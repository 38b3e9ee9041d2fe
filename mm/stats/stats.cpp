// The rows of counters and options, and sums over CPUs.
// SPDX-License-Identifier: MIT
#include "mm/stats/stats.hpp"

#include <algorithm>

#include "mm/stats/record.hpp"

namespace memory::stats {

namespace {

constexpr CounterRow kCounterRows[] = {
#define COUNTER(name, unit, kind, help) {#name, #unit, #kind, help},
#include "mm/stats/counters.def"
#undef COUNTER
};

}  // namespace

// By its ELF name, so that the options can also be read from the file of a kernel that does not run.
extern "C" constinit const OptionRow coronel_options[] = {
#define OPTION(type, name, value, help) {#name, #type, config::name, help},
#include "mm/base/config.def"
#undef OPTION
};

std::span<const CounterRow> counter_rows() { return kCounterRows; }
std::span<const OptionRow> option_rows() { return coronel_options; }

std::string_view name_of(Counter counter) { return kCounterRows[static_cast<std::size_t>(counter)].name; }

std::int64_t read(std::span<PerCpu* const> cpus, Counter counter) {
  const auto index = static_cast<std::size_t>(counter);
  const bool peak = std::string_view(kCounterRows[index].kind) == "peak";
  std::int64_t value = 0;
  for (const PerCpu* cpu : cpus) {
    const std::int64_t share = cpu->counters[index].load(std::memory_order_relaxed);
    value = peak ? std::max(value, share) : value + share;
  }
  return value;
}

}  // namespace memory::stats
