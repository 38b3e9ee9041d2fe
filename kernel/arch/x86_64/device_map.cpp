// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/device_map.hpp"

#include "mm/base/check.hpp"
#include "mm/memory_manager.hpp"
#include "mm/virtual/kernel_space.hpp"
#include "mm/virtual/page_table.hpp"

namespace kernel {

namespace {

using memory::PhysAddr;
using memory::VirtAddr;

constexpr std::size_t kMostPages = 512;  // BootMap made the one table that these need

constinit std::size_t pages_used = 0;

VirtAddr page_at(std::size_t n) { return memory::kernel_space::kDevices + n * memory::kPageSize; }
std::byte* bytes_at(std::size_t n) { return reinterpret_cast<std::byte*>(page_at(n).value); }

}  // namespace

memory::Result<std::byte*> map_registers(PhysAddr page) {
  CHECK(page.aligned_to(memory::kPageSize));
  memory::PageTables& tables = memory::kernel_tables();
  for (std::size_t n = 0; n < pages_used; ++n) {
    const auto known = tables.query(page_at(n));
    if (known.ok() && known.take().physical == page) return bytes_at(n);
  }
  if (pages_used == kMostPages) return memory::Error::too_big;
  TRY(tables.map(page_at(pages_used), page, memory::kPageSize,
                 {.access = memory::Access::read_write, .cache = memory::CacheType::uncached}));
  return bytes_at(pages_used++);
}

}  // namespace kernel
