// The C face's page tables.
// SPDX-License-Identifier: MIT
#include <algorithm>

#include "mm/host/capi.hpp"
#include "mm/table_call.hpp"

using namespace memory;
using namespace memory::host;

int64_t mm_run_tables(mm_table_call* calls, size_t count) {
  return run_calls(calls, count, [](memory::Machine& machine, mm_table_call& call) {
    TableCall one{.letter = call.letter < 128 ? static_cast<char>(call.letter) : '\0'};
    if (!table_numbers(one.letter)) return false;
    std::copy(std::begin(call.numbers), std::end(call.numbers), one.numbers.begin());
    note(call, perform(machine.manager(), one));
    return true;
  });
}

uint64_t pgd_alloc(void) {
  uint64_t root = 0;
  (void)on_machine([&](memory::Machine& machine) {
    const auto made = machine.manager().directories().create();
    if (made.ok()) root = made.take()->root().table.value;
    return negative(made.error());
  });
  return root;
}

int pgd_free(uint64_t pgd) {
  return on_machine([=](memory::Machine& machine) {
    return negative(machine.manager().directories().destroy(PhysAddr{pgd}).error());
  });
}

namespace {

// Runs body(PageTables&), which returns a Result<void>.
template <typename Body>
int on_tables(uint64_t pgd, Body&& body) {
  return on_machine([&](memory::Machine& machine) {
    const auto tables = machine.manager().directories().find(PhysAddr{pgd});
    if (!tables.ok()) return negative(tables.error());
    return negative(body(*tables.take()).error());
  });
}

}  // namespace

int map_page(uint64_t pgd, uint64_t virt, uint64_t phys, uint64_t flags) {
  return on_tables(pgd, [=](PageTables& tables) -> Result<void> {
    const std::uint64_t bytes = bytes_at((flags & PTE_HUGE) != 0 ? PageLevel::two_mib : PageLevel::page);
    const VirtAddr at{virt};
    const PhysAddr to{phys};
    if (!at.aligned_to(bytes) || !to.aligned_to(bytes)) return Error::invalid;
    const Protection how = TRY(PteFlags{flags & ~PTE_HUGE}.protection());
    return tables.map(at, to, bytes, how);
  });
}

int unmap_page(uint64_t pgd, uint64_t virt) {
  return on_tables(pgd, [=](PageTables& tables) -> Result<void> {
    const VirtAddr at{virt};
    const std::uint64_t bytes = bytes_at(TRY(tables.query(at)).level);
    if (!at.aligned_to(bytes)) return Error::invalid;
    FlushBatch flush(tables);
    return tables.unmap(at, bytes, flush);
  });
}

int64_t virt_to_phys_pgtable(uint64_t pgd, uint64_t virt) {
  std::uint64_t physical = 0;
  const int status = on_tables(pgd, [&](PageTables& tables) -> Result<void> {
    physical = TRY(tables.query(VirtAddr{virt})).physical.value;
    return {};
  });
  return status < 0 ? status : static_cast<int64_t>(physical);
}
