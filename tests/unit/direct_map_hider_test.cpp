// DirectMapHider: a frame's entry comes and goes, and nothing else changes.
// SPDX-License-Identifier: MIT
#include "mm/virtual/direct_map_hider.hpp"

#include "mm/virtual/kernel_space.hpp"
#include "mm/virtual/map_builder.hpp"
#include "mm/virtual/table_cursor.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

constexpr PhysRange kMemory[] = {frames(0, 4096)};

// Tables out of the machine's own frames.
class Tables final : public TableFrames {
 public:
  explicit Tables(Physical& physical) : physical_(physical) {}
  Result<PhysAddr> fresh() override {
    const FrameNumber frame = TRY(physical_.allocate(Order{0}));
    platform::clear_page(physical_.frames().open(frame).bytes());
    return address_of(frame);
  }
  PageTable& open(PhysAddr table) override {
    return *reinterpret_cast<PageTable*>(physical_.frames().open(frame_at(table)).bytes());
  }

 private:
  Physical& physical_;
};

VirtAddr direct(FrameNumber frame) { return kernel_space::kDirectMap + address_of(frame).value; }

// The tree of a machine, all of whose memory is directly mapped by pages.
struct MappedTree {
  Physical& physical;
  Tables tables;
  PageRoot root{};

  explicit MappedTree(World& world) : physical(world->physical()), tables(physical) {
    root.table = tables.fresh().take();
    MapBuilder builder(tables, root, PageLevel::page);
    CHECK(builder.map_directly(kMemory[0], kMemory[0].end).ok());
    for (FrameNumber frame{0}; frame < FrameNumber{4096}; frame = frame + 512)
      set_live(physical.frames()[table_of(frame)], 512);
  }
  FrameNumber table_of(FrameNumber frame) const { return at(frame).table(); }
  PageEntry entry_of(FrameNumber frame) const { return at(frame).entry().load(); }
  std::uint32_t live_of(FrameNumber frame) const { return at(frame).live(); }
  TableCursor at(FrameNumber frame) const {
    TableCursor cursor(physical.frames(), root);
    cursor.seek(direct(frame), PageLevel::page);
    return cursor;
  }
};

}  // namespace

TEST(direct_map_hider, a_block_comes_and_goes) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const MappedTree tree(world);
  DirectMapHider hider(tree.physical.frames(), tree.root);
  for (const unsigned order : {0u, 3u, 6u, 9u}) {
    const FrameNumber block = tree.physical.allocate(Order{static_cast<std::uint8_t>(order)}).take();
    const FrameNumber end = block + frames_in(Order{static_cast<std::uint8_t>(order)});
    const FrameNumber last{raw(end) - 1};
    const PageEntry before = tree.entry_of(block);
    for (int twice = 0; twice < 2; ++twice) {
      hider.hide(block, Order{static_cast<std::uint8_t>(order)});
      for (FrameNumber frame = block; frame < end; ++frame) EXPECT(!tree.entry_of(frame).present());
      EXPECT_EQ(tree.live_of(block), 512 - (1u << order));
    }
    if (order < 9) EXPECT(tree.entry_of(end).present());
    for (int twice = 0; twice < 2; ++twice) {
      hider.show(block, Order{static_cast<std::uint8_t>(order)});
      EXPECT_EQ(tree.live_of(block), 512u);
    }
    EXPECT(tree.entry_of(block) == before);
    EXPECT_EQ(tree.entry_of(last).address(), address_of(last));
  }
}

// With the option, by whoever allocates and frees; without it the frames stay where they are.
TEST(direct_map_hider, a_free_frame_is_hidden_where_the_profile_says_so) {
  World world({.memory = kMemory});
  ASSERT(world.ok());
  const MappedTree tree(world);
  DirectMapHider hider(tree.physical.frames(), tree.root);
  tree.physical.set_hider(hider);
  const FrameNumber frame = tree.physical.allocate(Order{2}).take();
  EXPECT(tree.entry_of(frame).present());
  ASSERT(tree.physical.release(frame, Order{2}).ok());
  EXPECT_EQ(tree.entry_of(frame).present(), !config::debug_pagealloc);
  tree.physical.quiesce();
  EXPECT_EQ(tree.entry_of(frame + 3).present(), !config::debug_pagealloc);
  const FrameNumber again = tree.physical.allocate(Order{2}).take();
  EXPECT(tree.entry_of(again).present());
  EXPECT(tree.entry_of(again + 3).present());
}
