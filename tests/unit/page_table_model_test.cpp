// Page tables beside a model: random ranges, page by page.
// SPDX-License-Identifier: MIT
#include "mm/base/random.hpp"
#include "mm/virtual/page_table.hpp"
#include "tests/unit/table_world.hpp"

using namespace memory;
using namespace unit;

namespace {

constexpr unsigned kModelPages = 6 * 512;

struct Model {
  struct Page {
    bool mapped;
    Access access;
    std::uint64_t physical;
  };
  Page pages[kModelPages];

  bool any(unsigned first, unsigned count, bool mapped) const {
    for (unsigned n = first; n < first + count; ++n)
      if (pages[n].mapped == mapped) return true;
    return false;
  }
};

}  // namespace

TEST(page_table, random_changes_agree_with_a_model) {
  Trees trees;
  ASSERT(trees.ok());
  Model* const model = unit::fresh<Model>();
  ASSERT(model != nullptr);
  *model = {};
  Random random(unit::seed());
  constexpr VirtAddr kBase = kLow + 1_GiB - 6_MiB;  // half of it in the next GiB
  for (unsigned step = 0; step < 3000; ++step) {
    const auto first = static_cast<unsigned>(random.below(kModelPages));
    const auto most = static_cast<unsigned>(random.below(4) == 0 ? kModelPages - first : 1 + random.below(8));
    const unsigned count = std::min(most, kModelPages - first);
    const VirtAddr at = kBase + first * kPageSize;
    const auto access = static_cast<Access>(random.below(3));
    const std::uint64_t bytes = count * kPageSize;
    switch (random.below(4)) {
      case 0:
      case 1: {
        const PhysAddr to = kDevice.aligned_down(2_MiB) + (first % 512 + random.below(2)) * kPageSize;
        const Error error = trees->map(at, to, bytes, {.access = access}).error();
        EXPECT_EQ(error, model->any(first, count, true) ? Error::exists : Error::ok);
        if (error != Error::ok) break;
        for (unsigned n = 0; n < count; ++n)
          model->pages[first + n] = {true, access, to.value + n * kPageSize};
        break;
      }
      case 2: {
        const Error error = trees.unmap(at, bytes).error();
        EXPECT_EQ(error, model->any(first, count, false) ? Error::not_found : Error::ok);
        if (error != Error::ok) break;
        for (unsigned n = 0; n < count; ++n) model->pages[first + n] = {};
        break;
      }
      default: {
        const Error error = trees.protect(at, bytes, {.access = access}).error();
        EXPECT_EQ(error, model->any(first, count, false) ? Error::not_found : Error::ok);
        if (error != Error::ok) break;
        for (unsigned n = 0; n < count; ++n) model->pages[first + n].access = access;
      }
    }
    if (step % 64 != 0) continue;
    EXPECT(trees->valid());
    for (unsigned n = 0; n < kModelPages; ++n) {
      const Found found = trees.walk(kBase + n * kPageSize);
      const Model::Page& page = model->pages[n];
      ASSERT(found.present == page.mapped);
      if (!page.mapped) continue;
      EXPECT_EQ(found.physical, page.physical);
      EXPECT_EQ(found.write, page.access == Access::read_write);
      EXPECT_EQ(found.execute, page.access == Access::read_execute);
    }
  }
  for (unsigned n = 0; n < kModelPages; ++n)
    if (model->pages[n].mapped) EXPECT(trees.unmap(kBase + n * kPageSize, kPageSize).ok());
  EXPECT_EQ(trees.taken(), 1u);
  EXPECT(trees.world->manager().valid());
}
