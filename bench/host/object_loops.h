/* Loops over KOS's pairs in plain C, as a kernel programmer would write them: pages, objects of a cache, kmalloc.
 * SPDX-License-Identifier: MIT
 *
 * On the machine that the calling thread has entered. Each allocates and releases `times` times; it returns 0, or the
 * negative errno of the first call that failed; then it has stopped there.
 */
#ifndef CORONEL_BENCH_OBJECT_LOOPS_H
#define CORONEL_BENCH_OBJECT_LOOPS_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

struct kmem_cache;

int page_pairs(unsigned order, unsigned gfp_flags, unsigned times);
int cache_pairs(struct kmem_cache* cache, unsigned gfp_flags, unsigned times);
int kmalloc_pairs(size_t size, unsigned gfp_flags, unsigned times);

#ifdef __cplusplus
}
#endif
#endif
