// FlushBatch: when it may run.
// SPDX-License-Identifier: MIT
#include "mm/virtual/flush_batch.hpp"
#include "tests/unit/table_world.hpp"

using namespace memory;
using namespace unit;

TEST(flush_batch, never_runs_with_a_spin_lock_held_or_interrupts_off) {
  if constexpr (!config::debug) return;
  Trees trees;
  ASSERT(trees.ok());
  FlushBatch flush(*trees.tables);
  Spin<Rank::cache> lock;
  EXPECT_PANIC(
      {
        const Spin<Rank::cache>::Hold hold(lock);
        flush.flush();
      },
      "depth == 0");
  const std::uint64_t state = platform::irq_save();
  EXPECT_PANIC(flush.flush(), "interrupts_are_on");
  platform::irq_restore(state);
}
