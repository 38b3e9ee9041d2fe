// BootMap: walks, makes tables, maps the kernel.
// SPDX-License-Identifier: MIT
#include "mm/virtual/boot_map.hpp"

#include <algorithm>

#include "mm/physical/frames.hpp"
#include "mm/virtual/kernel_space.hpp"

namespace memory {

Result<BootMap> BootMap::create(EarlyAllocator& early, std::byte* reach, PageLevel largest) {
  BootMap map(early, reach, largest);
  map.root_ = TRY(map.fresh_frame());
  return map;
}

Result<PhysAddr> BootMap::fresh_frame() {
  const PhysAddr frame = TRY(early_->allocate());
  platform::clear_page(reach_ + frame.value);
  return frame;
}

// The entry for `at` in its table at `level`, whose upper tables are made where they are missing. Fails with
// exists where a larger page covers `at`.
Result<PageEntry*> BootMap::entry_for(VirtAddr at, PageLevel level) {
  PhysAddr table = root_;
  for (PageLevel here = PageLevel::root; here != level; here = below(here)) {
    PageEntry& entry = open(table)[index_at(here, at)];
    if (!entry.present()) entry = PageEntry::table(TRY(fresh_frame()));
    if (entry.large()) return Error::exists;
    table = entry.address();
  }
  return &open(table)[index_at(level, at)];
}

PageLevel BootMap::level_for(VirtAddr at, PhysAddr to, std::uint64_t bytes) const {
  for (PageLevel level = largest_; level != PageLevel::page; level = below(level)) {
    const std::uint64_t size = bytes_at(level);
    if (at.aligned_to(size) && to.aligned_to(size) && bytes >= size) return level;
  }
  return PageLevel::page;
}

Result<void> BootMap::map(VirtAddr at, PhysAddr to, std::uint64_t bytes, Access access) {
  CHECK(at.aligned_to(kPageSize) && to.aligned_to(kPageSize) && bytes % kPageSize == 0);
  while (bytes > 0) {
    const PageLevel level = level_for(at, to, bytes);
    PageEntry& entry = *TRY(entry_for(at, level));
    if (entry.present()) return Error::exists;
    entry = PageEntry::leaf(to, level, access);
    at += bytes_at(level);
    to += bytes_at(level);
    bytes -= bytes_at(level);
  }
  return {};
}

Result<void> BootMap::back(VirtAddr at, std::uint64_t bytes) {
  CHECK(at.aligned_to(kPageSize) && bytes % kPageSize == 0);
  for (; bytes > 0; at += kPageSize, bytes -= kPageSize) {
    PageEntry& entry = *TRY(entry_for(at, PageLevel::page));
    if (entry.present()) continue;
    entry = PageEntry::leaf(TRY(fresh_frame()), PageLevel::page, Access::read_write);
  }
  return {};
}

Result<void> BootMap::map_kernel(const KernelImage& image, const BootInfo& info) {
  TRY(map_image(image));
  for (std::size_t n = 0; n < info.memory_ranges; ++n) {
    if (info.memory[n].kind == MemoryKind::available) TRY(map_memory(info.memory[n].range));
    if (info.is_firmware(n)) TRY(map_firmware(info.memory[n].range));
  }
  return {};
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

// The direct map of one range, and the part of the frame array that describes it.
Result<void> BootMap::map_memory(PhysRange memory) {
  if (memory.empty()) return {};
  TRY(map(kernel_space::kDirectMap + memory.first.value, memory.first, memory.bytes(), Access::read_write));

  const std::uint64_t first = raw(frame_at(memory.first)) / FrameMap::kFramesPerBlock;
  const std::uint64_t end =
      raw(frame_at(memory.end) + (FrameMap::kFramesPerBlock - 1)) / FrameMap::kFramesPerBlock;
  constexpr std::uint64_t kFrameBytes =
      FrameMap::kFramesPerBlock * sizeof(Frame);  // 16 KiB for 2 MiB of memory
  static_assert(kFrameBytes % kPageSize == 0);
  TRY(back(kernel_space::kFrameArray + first * kFrameBytes, (end - first) * kFrameBytes));
  const VirtAddr blocks = kernel_space::kPageblocks + first * sizeof(Pageblock);
  const VirtAddr blocks_end = kernel_space::kPageblocks + end * sizeof(Pageblock);
  const VirtAddr page = blocks.aligned_down(kPageSize);
  return back(page, blocks_end.aligned_up(kPageSize) - page);
}

}  // namespace memory
