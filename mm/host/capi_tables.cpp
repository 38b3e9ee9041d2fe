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

int map_page(uint64_t pgd, uint64_t virt, uint64_t phys, uint64_t flags) {
  return on_machine([=](memory::Machine& machine) {
    return negative(
        memory::map_page(machine.manager(), PhysAddr{pgd}, VirtAddr{virt}, PhysAddr{phys}, PteFlags{flags})
            .error());
  });
}

int unmap_page(uint64_t pgd, uint64_t virt) {
  return on_machine([=](memory::Machine& machine) {
    return negative(memory::unmap_page(machine.manager(), PhysAddr{pgd}, VirtAddr{virt}).error());
  });
}

int64_t virt_to_phys_pgtable(uint64_t pgd, uint64_t virt) {
  return on_machine([=](memory::Machine& machine) -> int64_t {
    const auto tables = machine.manager().directories().find(PhysAddr{pgd});
    if (!tables.ok()) return negative(tables.error());
    const auto found = tables.take()->query(VirtAddr{virt});
    if (!found.ok()) return negative(found.error());
    return static_cast<int64_t>(found.take().physical.value);
  });
}
