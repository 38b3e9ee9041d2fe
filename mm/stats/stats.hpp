// Counters: each CPU counts for itself, the reader sums. Declared in counters.def, read everywhere.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "mm/base/platform.hpp"

namespace memory::stats {

enum class Counter : std::uint16_t {
#define COUNTER(name, unit, kind, help) name,
#include "mm/stats/counters.def"
#undef COUNTER
  count_
};
inline constexpr std::size_t kCounters = static_cast<std::size_t>(Counter::count_);
static_assert(kCounters <= kCounterSlots, "raise kCounterSlots in mm/base/percpu.hpp");

// Counts on this CPU: one instruction on the machine, a relaxed addition on the host. Orders nothing.
inline void add(Counter counter, std::int64_t delta = 1) {
  platform::percpu_add(offsetof(PerCpu, counters) + sizeof(std::int64_t) * static_cast<std::size_t>(counter),
                       delta);
}

// The value over `cpus`. Racy by design: exact when those CPUs stand still.
std::int64_t read(std::span<PerCpu* const> cpus, Counter counter);

std::string_view name_of(Counter counter);

}  // namespace memory::stats
