/* Loops over KOS's map_page() and unmap_page() in plain C, as a kernel programmer would write them.
 * SPDX-License-Identifier: MIT
 *
 * On the machine that the calling thread has entered. Each returns 0, or the negative errno of the first call that failed;
 * then it has stopped there.
 */
#ifndef CORONEL_BENCH_TABLE_LOOPS_H
#define CORONEL_BENCH_TABLE_LOOPS_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Maps the page at `virt` and unmaps it, `times` times. */
int map_and_unmap(uint64_t pgd, uint64_t virt, uint64_t phys, uint64_t flags, unsigned times);

/* Maps `pages` pages of 4 KiB one after the other, then unmaps them one after the other, `times` times. */
int map_all_and_unmap_all(uint64_t pgd, uint64_t virt, uint64_t phys, uint64_t flags, unsigned pages,
                          unsigned times);

#ifdef __cplusplus
}
#endif
#endif
