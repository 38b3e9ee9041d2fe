// BootMap: builds the kernel's page tables once, before there is a frame array. It maps only.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>

#include "mm/base/boot_info.hpp"
#include "mm/physical/early.hpp"
#include "mm/virtual/entry.hpp"

namespace memory {

// One section of the kernel image. Whole pages.
struct ImageSection {
  VirtAddr first;
  VirtAddr end;
  PhysAddr physical;
  Access access;
};

struct KernelImage {
  std::span<const ImageSection> sections;
  std::span<const VirtAddr> guard_pages;  // pages of the image that stay unmapped: below stacks
};

// Single-threaded. Takes its tables from the early allocator and never gives one back: a failure ends the
// boot.
class BootMap {
 public:
  // `reach`: where physical address 0 appears now, for everything that `early` hands out. `largest`: the
  // largest page that this CPU maps with (two_mib, or one_gib where CPUID has it).
  static Result<BootMap> create(EarlyAllocator& early, std::byte* reach, PageLevel largest);

  // Maps [at, at + bytes) to [to, to + bytes) with the largest pages that fit. All whole pages. Fails with
  // exists where something is mapped already, no_memory when a table cannot be had; both leave a part mapped.
  Result<void> map(VirtAddr at, PhysAddr to, std::uint64_t bytes, Access access);

  // Maps fresh, cleared frames, writable. Pages that are mapped already stay as they are.
  Result<void> back(VirtAddr at, std::uint64_t bytes);

  // The kernel's whole map: its image by section without guard pages; the direct map of available memory; the
  // frame array and the pageblocks over it; in the direct map, read-only, where firmware keeps tables
  // (BootInfo::is_firmware). Page zero and everything else stay absent.
  Result<void> map_kernel(const KernelImage& image, const BootInfo& info);

  PhysAddr root() const { return root_; }

 private:
  BootMap(EarlyAllocator& early, std::byte* reach, PageLevel largest)
      : early_(&early), reach_(reach), largest_(largest) {}

  PageTable& open(PhysAddr table) const { return *reinterpret_cast<PageTable*>(reach_ + table.value); }
  Result<PhysAddr> fresh_frame();
  Result<PageEntry*> entry_for(VirtAddr at, PageLevel level);
  PageLevel level_for(VirtAddr at, PhysAddr to, std::uint64_t bytes) const;
  Result<void> map_image(const KernelImage& image);
  Result<void> map_memory(PhysRange memory);
  Result<void> map_firmware(PhysRange tables);

  EarlyAllocator* early_;
  std::byte* reach_;
  PageLevel largest_;
  PhysAddr root_{};
};

}  // namespace memory
