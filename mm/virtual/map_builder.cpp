// MapBuilder: walks, makes tables, maps.
// SPDX-License-Identifier: MIT
#include "mm/virtual/map_builder.hpp"

#include "mm/base/check.hpp"
#include "mm/physical/frames.hpp"
#include "mm/virtual/kernel_space.hpp"

namespace memory {

namespace {

constexpr std::uint64_t kFrameBytes =
    FrameMap::kFramesPerBlock * sizeof(Frame);  // 16 KiB for 2 MiB of memory
static_assert(kFrameBytes % kPageSize == 0);

// Whole pages of the two windows that describe some memory.
struct Descriptions {
  VirtRange frames;
  VirtRange blocks;
};

Descriptions descriptions_of(PhysRange memory) {
  const std::uint64_t first = raw(frame_at(memory.first)) / FrameMap::kFramesPerBlock;
  const std::uint64_t end =
      raw(frame_at(memory.end) + (FrameMap::kFramesPerBlock - 1)) / FrameMap::kFramesPerBlock;
  const VirtAddr blocks = kernel_space::kPageblocks + first * sizeof(Pageblock);
  const VirtAddr blocks_end = kernel_space::kPageblocks + end * sizeof(Pageblock);
  return {.frames = {kernel_space::kFrameArray + first * kFrameBytes,
                     kernel_space::kFrameArray + end * kFrameBytes},
          .blocks = {blocks.aligned_down(kPageSize), blocks_end.aligned_up(kPageSize)}};
}

// Tables that a range of addresses can need at most when none of its tables exists, all pages being small. Five levels need
// no more: the table below the root that is for all of the kernel's addresses is there from the start.
std::uint64_t most_tables_for(std::uint64_t bytes) {
  std::uint64_t tables = 0;
  for (PageLevel level = PageLevel::two_mib; level != PageLevel::gib_512; level = above(level))
    tables += bytes / bytes_at(level) + 2;
  return tables + 2;
}

}  // namespace

// The entry for `at` in its table at `level`, whose upper tables are made where they are missing. Fails with
// exists where a larger page covers `at`.
Result<PageEntry*> MapBuilder::entry_for(VirtAddr at, PageLevel level) {
  PhysAddr table = root_.table;
  for (PageLevel here = root_.top; here != level; here = below(here)) {
    const unsigned index = index_at(here, at);
    if (!frames_.open(table)[index].present()) {
      const PhysAddr made = TRY(frames_.fresh());
      frames_.open(table)[index] = PageEntry::table(made);
    }
    const PageEntry entry = frames_.open(table)[index];
    if (entry.maps(here)) return Error::exists;
    table = entry.address();
  }
  return &frames_.open(table)[index_at(level, at)];
}

PageLevel MapBuilder::level_for(VirtAddr at, PhysAddr to, std::uint64_t bytes) const {
  for (PageLevel level = largest_; level != PageLevel::page; level = below(level)) {
    const std::uint64_t size = bytes_at(level);
    if (at.aligned_to(size) && to.aligned_to(size) && bytes >= size) return level;
  }
  return PageLevel::page;
}

Result<void> MapBuilder::map(VirtAddr at, PhysAddr to, std::uint64_t bytes, Access access) {
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

Result<void> MapBuilder::back(VirtAddr at, std::uint64_t bytes) {
  CHECK(at.aligned_to(kPageSize) && bytes % kPageSize == 0);
  for (; bytes > 0; at += kPageSize, bytes -= kPageSize) {
    if (TRY(entry_for(at, PageLevel::page))->present()) continue;
    const PhysAddr frame = TRY(frames_.fresh());
    *TRY(entry_for(at, PageLevel::page)) = PageEntry::leaf(frame, PageLevel::page, Access::read_write);
  }
  return {};
}

Result<void> MapBuilder::prepare(VirtAddr page) {
  TRY(entry_for(page, PageLevel::page));
  return {};
}

PageEntry& MapBuilder::entry(VirtAddr page) {
  const auto entry = entry_for(page, PageLevel::page);
  CHECK(entry.ok());
  return *entry.take();
}

Result<void> MapBuilder::map_directly(PhysRange memory, PhysAddr direct_end, Access access) {
  const PhysRange part = memory.intersect({PhysAddr{0}, direct_end});
  if (part.empty()) return {};
  return map(kernel_space::kDirectMap + part.first.value, part.first, part.bytes(), access);
}

Result<void> MapBuilder::back_descriptions(PhysRange memory) {
  if (memory.empty()) return {};
  const Descriptions windows = descriptions_of(memory);
  TRY(back(windows.frames.first, windows.frames.bytes()));
  return back(windows.blocks.first, windows.blocks.bytes());
}

std::uint64_t MapBuilder::most_frames_for(PhysRange memory) {
  const Descriptions windows = descriptions_of(memory);
  // The direct map's small pages are at its two ends only; its large ones need no table of their own.
  return most_tables_for(memory.bytes() / bytes_at(PageLevel::two_mib)) +
         memory.bytes() / bytes_at(PageLevel::one_gib) + windows.frames.bytes() / kPageSize +
         most_tables_for(windows.frames.bytes()) + windows.blocks.bytes() / kPageSize +
         most_tables_for(windows.blocks.bytes());
}

}  // namespace memory
