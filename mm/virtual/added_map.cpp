// AddedMap: frames from the start of the added memory, reached through the slot.
// SPDX-License-Identifier: MIT
#include "mm/virtual/added_map.hpp"

#include "mm/virtual/kernel_space.hpp"

namespace memory {

// What is added shows in every tree, because the entry of a root for each of these windows is there from the boot on.
static_assert(config::max_memory_gib * 1_GiB <= bytes_at(PageLevel::gib_512));
static_assert(config::max_memory_gib * 1_GiB / kPageSize * sizeof(Frame) <= bytes_at(PageLevel::gib_512));

namespace {

class AddedFrames final : public TableFrames {
 public:
  AddedFrames(const FrameTable& present, PageRoot root, PhysRange memory)
      : present_(present), root_(root), memory_(memory), next_(memory.first) {}

  Result<PhysAddr> fresh() override {
    if (next_ == memory_.end) return Error::no_memory;
    const PhysAddr frame = next_;
    next_ += kPageSize;
    platform::clear_page(&open(frame));
    return frame;
  }

  PageTable& open(PhysAddr table) override {
    const FrameNumber number = frame_at(table);
    if (present_.has(number) && present_.in_direct_map(number))
      return *reinterpret_cast<PageTable*>(present_.open(number).bytes());
    if (shown_ != table) show(table);
    return *reinterpret_cast<PageTable*>(kernel_space::kSlot.value);
  }

  std::size_t taken() const { return (next_ - memory_.first) / kPageSize; }

  // Nothing stays reachable through the slot.
  void close() {
    slot() = PageEntry{};
    platform::flush_page(SpaceId::kernel, kernel_space::kSlot);
    shown_ = PhysAddr{0};
  }

 private:
  // BootMap made the tables above the slot, out of frames that the direct map shows.
  PageEntry& slot() {
    PhysAddr table = root_.table;
    for (PageLevel here = root_.top; here != PageLevel::page; here = below(here))
      table = opened(table)[index_at(here, kernel_space::kSlot)].address();
    return opened(table)[index_at(PageLevel::page, kernel_space::kSlot)];
  }
  PageTable& opened(PhysAddr table) {
    return *reinterpret_cast<PageTable*>(present_.open(frame_at(table)).bytes());
  }
  void show(PhysAddr table) {
    slot() = PageEntry::leaf(table, PageLevel::page, Access::read_write);
    platform::flush_page(SpaceId::kernel, kernel_space::kSlot);
    shown_ = table;
  }

  const FrameTable& present_;
  PageRoot root_;
  PhysRange memory_;
  PhysAddr next_;
  PhysAddr shown_{0};  // what the slot shows; 0: nothing
};

}  // namespace

Result<std::size_t> AddedMap::map(PhysRange memory, PhysAddr direct_end) {
  // Beforehand, because half a map could not be taken back: from here on nothing fails.
  if (memory.bytes() / kPageSize <= MapBuilder::most_frames_for(memory)) return Error::invalid;
  AddedFrames frames(present_, root_, memory);
  MapBuilder builder(frames, root_, largest_);
  CHECK(builder.map_directly(memory, direct_end).ok());
  CHECK(builder.back_descriptions(memory).ok());
  frames.close();
  return frames.taken();
}

}  // namespace memory
