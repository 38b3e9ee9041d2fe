// The memory of page tables: roots that go back, and what happens when there is none.
// SPDX-License-Identifier: MIT
#include "tests/unit/table_world.hpp"

using namespace memory;
using namespace unit;

TEST(page_table, a_root_that_maps_something_is_not_given_back) {
  Trees trees;
  ASSERT(trees.ok());
  ASSERT(trees->map(kLow, kDevice, kPageSize, kData).ok());
  EXPECT_PANIC(PageTables::free_root(trees.world->physical(), trees->root()), "release(table");
}

TEST(page_table, a_root_goes_back_when_nothing_is_mapped) {
  Trees trees;
  ASSERT(trees.ok());
  ASSERT(trees->map(kLow, kDevice, kPageSize, kData).ok());
  ASSERT(trees.unmap(kLow, kPageSize).ok());
  PageTables::free_root(trees.world->physical(), trees->root());
  EXPECT_EQ(trees.taken(), 0u);
  EXPECT(trees.world->manager().valid());
}

namespace {

// Runs `call` with the n-th allocation failing, for each n until it succeeds: so many allocations it has. Whenever it
// fails nothing has changed.
template <typename Call>
std::uint64_t allocations_of(Trees& trees, Call&& call) {
  Physical& physical = trees.world->physical();
  physical.quiesce();
  for (std::uint64_t n = 1;; ++n) {
    const std::uint64_t tree = trees.fingerprint();
    const std::uint64_t free = trees.free();
    physical.fail_nth(n);
    const Error error = call().error();
    const bool struck = physical.fail_plan().struck();
    physical.fail_nth(0);
    EXPECT_EQ(struck, error != Error::ok);
    EXPECT(trees->valid());
    EXPECT(trees.world->manager().valid());
    if (error == Error::ok) return n - 1;
    EXPECT_EQ(error, Error::no_memory);
    EXPECT_EQ(trees.fingerprint(), tree);
    EXPECT_EQ(trees.free(), free);
    if (n > 20) return 0;
  }
}

}  // namespace

TEST(page_table, map_without_memory_changes_nothing) {
  Trees trees(PageLevel::tib_256);
  ASSERT(trees.ok());
  const VirtAddr first = kHigh + 512_GiB - 2_MiB - kPageSize;  // all the way down at either side
  EXPECT_EQ(allocations_of(trees, [&] { return trees->map(first, kDevice, 2_MiB + 2 * kPageSize, kData); }),
            8u);
  const FrameNumber frames[] = {FrameNumber{1}, FrameNumber{2}};
  EXPECT_EQ(allocations_of(trees, [&] { return trees->map_pages(kLow, frames, kData); }), 4u);
}

TEST(page_table, unmap_and_protect_without_memory_change_nothing) {
  Trees trees;
  ASSERT(trees.ok());
  ASSERT(trees->map(kLow, PhysAddr{0}, 2_GiB, kData).ok());
  const VirtAddr first = kLow + 1_GiB - kPageSize;
  EXPECT_EQ(allocations_of(trees, [&] { return trees.protect(first, 2 * kPageSize, {}); }), 4u);
  EXPECT_EQ(allocations_of(trees, [&] { return trees.unmap(kLow + 4_MiB, 2_MiB + kPageSize); }), 1u);
}
