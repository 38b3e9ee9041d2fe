/* Loops over map_page() and unmap_page().
 * SPDX-License-Identifier: MIT
 */
#include "bench/host/table_loops.h"

#include "mm/mm.h"

int map_and_unmap(uint64_t pgd, uint64_t virt, uint64_t phys, uint64_t flags, unsigned times) {
  for (unsigned n = 0; n < times; ++n) {
    int status = map_page(pgd, virt, phys, flags);
    if (status == 0) status = unmap_page(pgd, virt);
    if (status != 0) return status;
  }
  return 0;
}

int map_all_and_unmap_all(uint64_t pgd, uint64_t virt, uint64_t phys, uint64_t flags, unsigned pages,
                          unsigned times) {
  const uint64_t bytes = 4096;
  for (unsigned n = 0; n < times; ++n) {
    for (unsigned page = 0; page < pages; ++page) {
      const int status = map_page(pgd, virt + page * bytes, phys + page * bytes, flags);
      if (status != 0) return status;
    }
    for (unsigned page = 0; page < pages; ++page) {
      const int status = unmap_page(pgd, virt + page * bytes);
      if (status != 0) return status;
    }
  }
  return 0;
}
