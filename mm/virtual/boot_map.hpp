// BootMap: builds the kernel's page tables once, before there is a frame array.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>

#include "mm/base/boot_info.hpp"
#include "mm/physical/early.hpp"
#include "mm/virtual/map_builder.hpp"

namespace memory {

// One section of the kernel image. Whole pages.
struct ImageSection {
  VirtAddr first;
  VirtAddr end;
  PhysAddr physical;
  Access access;
};

struct KernelImage {
  std::span<const ImageSection> sections;  // ascending, virtual and physical
  std::span<const VirtAddr> guard_pages;   // pages of the image that stay unmapped: below stacks
};

// Single-threaded. Takes its tables from the early allocator and never gives one back: a failure ends the
// boot.
class BootMap {
 public:
  // `reach`: where physical address 0 appears now, for everything that `early` hands out. `largest` as MapBuilder has
  // it; `top` as PageRoot. Fails with no_memory.
  static Result<BootMap> create(EarlyAllocator& early, std::byte* reach, PageLevel largest,
                                PageLevel top = PageLevel::gib_512);

  // As MapBuilder's.
  Result<void> map(VirtAddr at, PhysAddr to, std::uint64_t bytes, Access access);
  Result<void> back(VirtAddr at, std::uint64_t bytes);

  // The kernel's whole map: its image by section without guard pages; the direct map of available memory below
  // `direct_end`, read-only where it shows what of the image is, by single pages what `by_pages` holds of it; the frame array and the pageblocks over all of it; what
  // firmware keeps, to read; the tables above the slot and the first of the windows of devices, of stacks and of kernel
  // ranges. Page zero and everything else stay absent.
  Result<void> map_kernel(const KernelImage& image, const BootInfo& info, PhysAddr direct_end,
                          PhysRange by_pages = {});

  PhysAddr root() const { return root_.table; }
  PageRoot tree() const { return root_; }

 private:
  BootMap(EarlyAllocator& early, std::byte* reach, PageLevel largest)
      : early_(&early), reach_(reach), largest_(largest) {}

  template <typename Body>
  Result<void> build(PageLevel largest, Body&& body);
  Result<void> map_image(const KernelImage& image);
  Result<void> map_firmware(PhysRange tables);

  EarlyAllocator* early_;
  std::byte* reach_;
  PageLevel largest_;
  PageRoot root_{};
};

}  // namespace memory
