// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/device_map.hpp"

#include "mm/base/check.hpp"
#include "mm/memory_manager.hpp"
#include "mm/virtual/kernel_space.hpp"

namespace kernel {

namespace {

using memory::PageEntry;
using memory::PageLevel;
using memory::PhysAddr;
using memory::VirtAddr;

constexpr std::size_t kMostPages = 512;  // BootMap made the one table that these need

// Intel SDM volume 3, section 4.9.2: PAT entry 3, strong uncacheable, in load_control_registers() and after a reset.
constexpr std::uint64_t kUncached = 1u << 4 | 1u << 3;

constinit std::size_t pages_used = 0;

std::byte* address_of_page(std::size_t n) {
  return reinterpret_cast<std::byte*>(memory::kernel_space::kDevices.value + n * memory::kPageSize);
}

// The last table above the window.
PageEntry* table_of_window() {
  const memory::FrameTable& frames = memory::manager().physical().frames();
  PhysAddr table{coronel_record.root};
  for (PageLevel here = PageLevel::root; here != PageLevel::page; here = memory::below(here)) {
    const auto* entries = reinterpret_cast<const PageEntry*>(frames.open(memory::frame_at(table)).bytes());
    table = entries[memory::index_at(here, memory::kernel_space::kDevices)].address();
  }
  return reinterpret_cast<PageEntry*>(frames.open(memory::frame_at(table)).bytes());
}

}  // namespace

memory::Result<std::byte*> map_registers(PhysAddr page) {
  CHECK(page.aligned_to(memory::kPageSize));
  PageEntry* const table = table_of_window();
  for (std::size_t n = 0; n < pages_used; ++n) {
    if (table[n].address() == page) return address_of_page(n);
  }
  if (pages_used == kMostPages) return memory::Error::too_big;
  const PageEntry entry = PageEntry::leaf(page, PageLevel::page, memory::Access::read_write);
  *reinterpret_cast<std::uint64_t*>(&table[pages_used]) = entry.bits() | kUncached;
  return address_of_page(pages_used++);
}

}  // namespace kernel
