/* Loops over alloc_pages(), kmem_cache_alloc() and kmalloc(), and what takes back what they gave.
 * SPDX-License-Identifier: MIT
 */
#include "bench/host/object_loops.h"

#include <errno.h>

#include "mm/mm.h"

int page_pairs(unsigned order, unsigned gfp_flags, unsigned times) {
  for (unsigned n = 0; n < times; ++n) {
    const int64_t pfn = alloc_pages(order, gfp_flags);
    const int status = pfn < 0 ? (int)pfn : free_pages((uint64_t)pfn, order);
    if (status != 0) return status;
  }
  return 0;
}

int cache_pairs(struct kmem_cache* cache, unsigned gfp_flags, unsigned times) {
  for (unsigned n = 0; n < times; ++n) {
    void* const object = kmem_cache_alloc(cache, gfp_flags);
    const int status = object == NULL ? -ENOMEM : kmem_cache_free(cache, object);
    if (status != 0) return status;
  }
  return 0;
}

int kmalloc_pairs(size_t size, unsigned gfp_flags, unsigned times) {
  for (unsigned n = 0; n < times; ++n) {
    void* const object = kmalloc(size, gfp_flags);
    const int status = object == NULL ? -ENOMEM : kfree(object);
    if (status != 0) return status;
  }
  return 0;
}
