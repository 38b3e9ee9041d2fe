/* Page tables through KOS's names: mapping, translating, pages of two sizes, and what is refused.
 * SPDX-License-Identifier: MIT
 */
#include "component.h"

#define LARGE (512 * PAGE)
#define PLACE UINT64_C(0x500040000000) /* of a whole table on every level but the highest two */
#define TARGET UINT64_C(0x40000000)
#define DATA (PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_NX)
#define CODE (PTE_PRESENT | PTE_USER)

static void small_pages(uint64_t pgd) {
  const unsigned kPages = 1500; /* over three tables */
  int mapped = 1, found = 1, gone = 1;
  part("1 500 pages of 4 KiB");
  CHECK("nothing is mapped in an empty tree", virt_to_phys_pgtable(pgd, PLACE) == -ENOENT);
  for (unsigned n = 0; n < kPages; ++n) /* backwards in memory */
    mapped &= map_page(pgd, PLACE + n * PAGE, TARGET + (kPages - n) * PAGE, n % 2 == 0 ? DATA : CODE) == 0;
  for (unsigned n = 0; n < kPages; ++n)
    found &= virt_to_phys_pgtable(pgd, PLACE + n * PAGE + n) == (int64_t)(TARGET + (kPages - n) * PAGE + n);
  CHECK("all are mapped", mapped);
  CHECK("each byte is where it was mapped to", found);
  CHECK("there is nothing before and behind them",
        virt_to_phys_pgtable(pgd, PLACE - 1) == -ENOENT &&
            virt_to_phys_pgtable(pgd, PLACE + kPages * PAGE) == -ENOENT);
  CHECK("one of them again is refused", map_page(pgd, PLACE + 700 * PAGE, TARGET, DATA) == -EEXIST);
  CHECK("and is mapped as it was",
        virt_to_phys_pgtable(pgd, PLACE + 700 * PAGE) == (int64_t)(TARGET + 800 * PAGE));
  for (unsigned n = 0; n < kPages; n += 2) gone &= unmap_page(pgd, PLACE + n * PAGE) == 0;
  for (unsigned n = 0; n < kPages; ++n)
    gone &= (virt_to_phys_pgtable(pgd, PLACE + n * PAGE) == -ENOENT) == (n % 2 == 0);
  CHECK("every other page goes, and no other", gone);
  for (unsigned n = 1; n < kPages; n += 2) gone &= unmap_page(pgd, PLACE + n * PAGE) == 0;
  CHECK("the others go", gone && virt_to_phys_pgtable(pgd, PLACE + PAGE) == -ENOENT);
  CHECK("what is gone cannot go again", unmap_page(pgd, PLACE) == -ENOENT);
}

static void large_pages(uint64_t pgd) {
  part("pages of 2 MiB beside such of 4 KiB");
  CHECK("one of 2 MiB is mapped", map_page(pgd, PLACE, TARGET, DATA | PTE_HUGE) == 0);
  CHECK("its last byte is there",
        virt_to_phys_pgtable(pgd, PLACE + LARGE - 1) == (int64_t)(TARGET + LARGE - 1));
  CHECK("one of 4 KiB inside is refused", map_page(pgd, PLACE + 5 * PAGE, TARGET, DATA) == -EEXIST);
  CHECK("the inside of it cannot go", unmap_page(pgd, PLACE + PAGE) == -EINVAL);
  CHECK("one of 4 KiB behind it is mapped", map_page(pgd, PLACE + LARGE + 9 * PAGE, TARGET, CODE) == 0);
  CHECK("one of 2 MiB over that is refused",
        map_page(pgd, PLACE + LARGE, TARGET, DATA | PTE_HUGE) == -EEXIST);
  CHECK("one of 2 MiB at half of that is refused",
        map_page(pgd, PLACE + 3 * LARGE + PAGE, TARGET, DATA | PTE_HUGE) == -EINVAL);
  CHECK("all is as it was", virt_to_phys_pgtable(pgd, PLACE + 5 * PAGE) == (int64_t)(TARGET + 5 * PAGE) &&
                                virt_to_phys_pgtable(pgd, PLACE + LARGE + 9 * PAGE) == (int64_t)TARGET &&
                                virt_to_phys_pgtable(pgd, PLACE + LARGE) == -ENOENT);
  CHECK("both go", unmap_page(pgd, PLACE) == 0 && unmap_page(pgd, PLACE + LARGE + 9 * PAGE) == 0);
}

static void refusals(uint64_t pgd) {
  part("what makes no sense is refused");
  CHECK("addresses inside of a page", map_page(pgd, PLACE + 8, TARGET, DATA) == -EINVAL &&
                                          map_page(pgd, PLACE, TARGET + 8, DATA) == -EINVAL);
  CHECK("an address that no CPU takes", map_page(pgd, UINT64_C(1) << 63, TARGET, DATA) == -EINVAL &&
                                            virt_to_phys_pgtable(pgd, UINT64_C(1) << 63) == -EINVAL);
  CHECK("the kernel's half", map_page(pgd, UINT64_C(0xffff900000000000), TARGET, DATA) == -EINVAL &&
                                 unmap_page(pgd, UINT64_C(0xffff900000000000)) == -EINVAL);
  CHECK("a physical address beyond any", map_page(pgd, PLACE, UINT64_C(1) << 52, DATA) == -EINVAL);
  CHECK("a page to write and execute", map_page(pgd, PLACE, TARGET, PTE_WRITE | PTE_USER) == -EINVAL);
  CHECK("a user's page that is global", map_page(pgd, PLACE, TARGET, DATA | PTE_GLOBAL) == -EINVAL);
  CHECK("unknown flags", map_page(pgd, PLACE, TARGET, DATA | UINT64_C(1) << 40) == -EINVAL);
  CHECK("no tree", map_page(pgd + PAGE, PLACE, TARGET, DATA) == -EINVAL && unmap_page(0, PLACE) == -EINVAL &&
                       virt_to_phys_pgtable(TARGET, PLACE) == -EINVAL && pgd_free(TARGET) == -EINVAL);
  CHECK("nothing of it was done", virt_to_phys_pgtable(pgd, PLACE) == -ENOENT);
}

static void no_memory(uint64_t pgd) {
  part("the n-th table that cannot be had");
  int status = -ENOMEM, unchanged = 1;
  unsigned n = 0;
  while (status == -ENOMEM && n < 10) {
    mm_fail_nth(++n);
    status = map_page(pgd, PLACE, TARGET, DATA);
    mm_fail_nth(0);
    unchanged &= status == 0 || virt_to_phys_pgtable(pgd, PLACE) == -ENOENT;
  }
  CHECK("each of the three may fail, then it succeeds", status == 0 && n == 4);
  CHECK("a failure changes nothing", unchanged);
  CHECK("the page goes", unmap_page(pgd, PLACE) == 0);
}

static void body(void) {
  part("two trees");
  const uint64_t pgd = pgd_alloc(), other = pgd_alloc();
  if (!CHECK("both begin at a page", pgd != 0 && other != 0 && pgd != other && (pgd | other) % PAGE == 0))
    return;
  CHECK("the same place in both",
        map_page(pgd, PLACE, TARGET, DATA) == 0 && map_page(other, PLACE, TARGET + PAGE, CODE) == 0);
  CHECK("leads elsewhere in each", virt_to_phys_pgtable(pgd, PLACE) == (int64_t)TARGET &&
                                       virt_to_phys_pgtable(other, PLACE) == (int64_t)(TARGET + PAGE));
  CHECK("and goes in one only",
        unmap_page(pgd, PLACE) == 0 && virt_to_phys_pgtable(other, PLACE) == (int64_t)(TARGET + PAGE));
  small_pages(pgd);
  large_pages(pgd);
  refusals(pgd);
  no_memory(pgd);
  part("the end of both");
  CHECK("a tree ends with what it maps", pgd_free(other) == 0 && pgd_free(pgd) == 0);
  CHECK("and is none any more", pgd_free(pgd) == -EINVAL && virt_to_phys_pgtable(pgd, PLACE) == -EINVAL);
}

int main(void) { return run_component("test_pgtable", body); }
