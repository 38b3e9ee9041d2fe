// Page tables as a whole: adopted, shown level by level, shared by other trees.
// SPDX-License-Identifier: MIT
#include "mm/virtual/table_cursor.hpp"
#include "tests/unit/table_world.hpp"

using namespace memory;
using namespace unit;

TEST(page_table, adopts_tables_that_others_made) {
  Trees trees;
  ASSERT(trees.ok());
  ASSERT(trees->map(kHigh, kDevice, 5 * kPageSize, kData).ok());
  ASSERT(trees->map(kHigh + 1_GiB, PhysAddr{0}, 4_MiB, kData).ok());
  const TablePath path = trees->path(kHigh).take();
  ASSERT(path.count == 4);
  EXPECT_EQ(path.steps[3].live, 5u);
  for (std::size_t n = 0; n < path.count; ++n) {  // as boot leaves them
    Frame& frame = trees.world->frames()[frame_at(path.steps[n].table)];
    unmark_table(frame);
    frame.uses = Frame::uses_of(frame.references(), 0);
  }
  EXPECT(!trees->valid());
  trees->adopt();
  EXPECT(trees->valid());
  EXPECT(trees->path(kHigh).take().steps[3].live == 5u);
  EXPECT(trees->path(kHigh).take().steps[1].live == 2u);
}

TEST(page_table, the_path_shows_every_level) {
  Trees trees(PageLevel::tib_256);
  ASSERT(trees.ok());
  ASSERT(trees->map(kHigh, PhysAddr{2_MiB}, 2_MiB, kData).ok());
  const TablePath path = trees->path(kHigh + 12345).take();
  ASSERT(path.count == 4);
  EXPECT(path.steps[0].level == PageLevel::tib_256 && path.steps[0].table == trees->root().table);
  EXPECT_EQ(path.steps[0].index, 511u);
  EXPECT(path.steps[3].level == PageLevel::two_mib && path.steps[3].entry.large());
  const TablePath absent = trees->path(kLow).take();
  EXPECT(absent.count == 1 && !absent.steps[0].entry.present());
}

// ---- trees beside the kernel's ---------------------------------------------------------------------------------------

namespace {

// A tree whose root shows the kernel's half of `kernel`.
PageTables* tree_beside(Trees& kernel) {
  const auto root = PageTables::new_root(kernel.world->physical(), kernel->root().top);
  if (!root.ok()) return nullptr;
  auto* const tree = fresh<PageTables>(kernel.world->physical(), root.take(), PageLevel::one_gib, SpaceId{1});
  if (tree != nullptr) tree->show_kernel(*kernel.tables);
  return tree;
}

}  // namespace

TEST(page_table, what_the_kernel_maps_later_shows_in_every_tree_that_copied_its_root) {
  for (const PageLevel top : {PageLevel::gib_512, PageLevel::tib_256}) {
    Trees kernel(top);
    ASSERT(kernel.ok());
    ASSERT(kernel->map(kHigh, kDevice, kPageSize, kData).ok());
    PageTables* const tree = tree_beside(kernel);
    ASSERT(tree != nullptr);
    const VirtAddr later =
        kHigh + 511 * 1_GiB;  // the last of what that entry of a root with four levels covers
    EXPECT_EQ(tree->query(later).error(), Error::not_found);
    ASSERT(kernel->map(later, kDevice + 7 * kPageSize, kPageSize, kData).ok());
    const auto found = tree->query(later);
    EXPECT(found.ok() && found.take().physical == kDevice + 7 * kPageSize);
    ASSERT(kernel.unmap(kHigh, kPageSize).ok());
    EXPECT_EQ(tree->query(kHigh).error(), Error::not_found);
    EXPECT(kernel->valid() && tree->valid());
  }
}

TEST(page_table, a_copied_root_gets_no_further_entry_in_the_kernels_half) {
  Trees kernel;
  ASSERT(kernel.ok());
  ASSERT(kernel->map(kHigh, kDevice, kPageSize, kData).ok());
  ASSERT(kernel->map(kHigh + 1024_GiB, kDevice, kPageSize, kData).ok());  // nobody has a copy yet
  ASSERT(tree_beside(kernel) != nullptr);
  EXPECT(kernel->map(kLow, kDevice, kPageSize, kData).ok());  // the lower half is not copied
  EXPECT_PANIC((void)kernel->map(kHigh + 512_GiB, kDevice, kPageSize, kData), "copies");
}
