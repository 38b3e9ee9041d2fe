// Counters: each CPU's share is its own, the reader sums, and the tables say what docs/formats.md promises.
// SPDX-License-Identifier: MIT
#include "mm/stats/stats.hpp"

#include "mm/stats/record.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using stats::Counter;
using unit::frames;
using unit::World;

TEST(stats, each_cpu_counts_for_itself_and_the_reader_sums) {
  static constexpr PhysRange kMemory[] = {frames(0, 512)};
  World world({.memory = kMemory, .cpus = 3});
  World other({.memory = kMemory});
  ASSERT(world.ok() && other.ok());
  for (unsigned n = 0; n < 3; ++n) {
    PerCpu* const former = unit::stand_on(&world->cpu(n));
    stats::add(Counter::frame_failures, std::int64_t{10} << n);
    stats::add(Counter::frame_failures);
    unit::stand_on(former);
  }
  EXPECT_EQ(world->counter(Counter::frame_failures), 73);
  EXPECT_EQ(other->counter(Counter::frame_failures), 0);  // counters belong to a machine
  const auto slot = static_cast<std::size_t>(Counter::frame_failures);
  EXPECT_EQ(world->cpu(0).counters[slot].load(), 11);
  EXPECT_EQ(world->cpu(2).counters[slot].load(), 41);
  stats::add(Counter::frames_free, -5);  // on `other`, whose share of a gauge may be negative
  EXPECT_EQ(other->counter(Counter::frames_free), 507);
}

TEST(stats, a_frame_freed_on_another_cpu_balances) {
  static constexpr PhysRange kMemory[] = {frames(0, 512)};
  World world({.memory = kMemory, .cpus = 2});
  ASSERT(world.ok());
  const auto frame = world->physical().allocate(Order{4});
  ASSERT(frame.ok());
  PerCpu* const former = unit::stand_on(&world->cpu(1));
  EXPECT(world->physical().release(frame.take(), Order{4}).ok());
  unit::stand_on(former);
  EXPECT_EQ(world->counter(Counter::frames_free), 512);
  EXPECT_EQ(world->cpu(1).counters[static_cast<std::size_t>(Counter::frames_free)].load(), 16);
}

TEST(stats, rows_say_what_counters_def_says) {
  EXPECT_EQ(stats::counter_rows().size(), stats::kCounters);
  for (const stats::CounterRow& row : stats::counter_rows()) {
    const std::string_view name = row.name;
    const std::string_view kind = row.kind;
    EXPECT(!name.empty() && name.size() < sizeof row.name);
    EXPECT(kind == "gauge" || kind == "total" || kind == "peak");
    EXPECT(!std::string_view(row.unit).empty());
    EXPECT(!std::string_view(row.help).empty());
    for (const stats::CounterRow& second : stats::counter_rows())
      EXPECT(&row == &second || name != second.name);
  }
  EXPECT_EQ(stats::name_of(Counter::frames_present), "frames_present");
  EXPECT_EQ(stats::name_of(Counter::frames_poisoned), "frames_poisoned");
}

TEST(stats, options_are_those_of_this_build) {
  unsigned seen = 0;
  for (const stats::OptionRow& row : stats::option_rows()) {
    const std::string_view name = row.name;
    if (name == "debug") EXPECT_EQ(row.value, std::uint64_t{config::debug});
    if (name == "max_order") EXPECT_EQ(row.value, std::uint64_t{config::max_order});
    if (name == "command_line_bytes") EXPECT_EQ(row.value, std::uint64_t{config::command_line_bytes});
    seen += name == "debug" || name == "max_order" || name == "command_line_bytes";
    EXPECT(!std::string_view(row.help).empty());
  }
  EXPECT_EQ(seen, 3u);
}
