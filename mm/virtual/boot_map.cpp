// BootMap: maps the kernel.
// SPDX-License-Identifier: MIT
#include "mm/virtual/boot_map.hpp"

#include <algorithm>

#include "mm/virtual/kernel_space.hpp"

namespace memory {

namespace {

class EarlyFrames final : public TableFrames {
 public:
  EarlyFrames(EarlyAllocator& early, std::byte* reach) : early_(early), reach_(reach) {}

  Result<PhysAddr> fresh() override {
    const PhysAddr frame = TRY(early_.allocate());
    platform::clear_page(reach_ + frame.value);
    return frame;
  }
  PageTable& open(PhysAddr table) override { return *reinterpret_cast<PageTable*>(reach_ + table.value); }

 private:
  EarlyAllocator& early_;
  std::byte* reach_;
};

}  // namespace

Result<BootMap> BootMap::create(EarlyAllocator& early, std::byte* reach, PageLevel largest, PageLevel top) {
  BootMap map(early, reach, largest);
  map.root_ = {.table = TRY(EarlyFrames(early, reach).fresh()), .top = top};
  return map;
}

// Runs body(MapBuilder&).
template <typename Body>
Result<void> BootMap::build(PageLevel largest, Body&& body) {
  EarlyFrames frames(*early_, reach_);
  MapBuilder builder(frames, root_, largest);
  return body(builder);
}

Result<void> BootMap::map(VirtAddr at, PhysAddr to, std::uint64_t bytes, Access access) {
  return build(largest_, [=](MapBuilder& builder) { return builder.map(at, to, bytes, access); });
}

Result<void> BootMap::back(VirtAddr at, std::uint64_t bytes) {
  return build(largest_, [=](MapBuilder& builder) { return builder.back(at, bytes); });
}

namespace {

// The direct map shows the image, too: read-only what is so there, so that no frame can be written through one mapping and
// executed through another. Sections ascend.
Result<void> map_memory(MapBuilder& builder, PhysRange memory, PhysAddr direct_end,
                        const KernelImage& image) {
  for (const ImageSection& section : image.sections) {
    if (section.access == Access::read_write) continue;
    const PhysRange part =
        memory.intersect({section.physical, section.physical + (section.end - section.first)});
    if (part.empty()) continue;
    TRY(builder.map_directly({memory.first, part.first}, direct_end));
    TRY(builder.map_directly(part, direct_end, Access::read));
    memory.first = part.end;
  }
  return builder.map_directly(memory, direct_end);
}

}  // namespace

Result<void> BootMap::map_kernel(const KernelImage& image, const BootInfo& info, PhysAddr direct_end,
                                 PhysRange by_pages) {
  TRY(map_image(image));
  TRY(build(PageLevel::page,
            [=](MapBuilder& builder) { return builder.map_directly(by_pages, direct_end); }));
  for (std::size_t n = 0; n < info.memory_ranges; ++n)
    if (info.is_firmware(n)) TRY(map_firmware(info.memory[n].range));
  return build(largest_, [&](MapBuilder& builder) -> Result<void> {
    for (std::size_t n = 0; n < info.memory_ranges; ++n) {
      if (info.memory[n].kind != MemoryKind::available) continue;
      const auto left = info.memory[n].range.subtract(by_pages);
      TRY(map_memory(builder, left.below, direct_end, image));
      TRY(map_memory(builder, left.above, direct_end, image));
      TRY(builder.back_descriptions(info.memory[n].range));
    }
    TRY(builder.prepare(kernel_space::kDevices));
    TRY(builder.prepare(kernel_space::kVmalloc));
    return builder.prepare(kernel_space::kSlot);
  });
}

Result<void> BootMap::map_image(const KernelImage& image) {
  for (const ImageSection& section : image.sections) {
    for (VirtAddr page = section.first; page < section.end; page += kPageSize) {
      if (std::find(image.guard_pages.begin(), image.guard_pages.end(), page) != image.guard_pages.end())
        continue;
      TRY(map(page, section.physical + (page - section.first), kPageSize, section.access));
    }
  }
  return {};
}

// Tables to read, no frames to describe: outside of the frame array.
Result<void> BootMap::map_firmware(PhysRange tables) {
  return map(kernel_space::kDirectMap + tables.first.value, tables.first, tables.bytes(), Access::read);
}

}  // namespace memory
