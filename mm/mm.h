/* The C face of the memory manager: the names a kernel programmer already knows.
 * SPDX-License-Identifier: MIT
 *
 * Plain C declarations only: tools/coronel/mm/host.py hands this very text to cffi, so a binding cannot drift from the
 * code. Every call works on the memory manager that the calling thread entered (mm_host.h). Failures are a negative
 * errno. A misuse (double free, wrong order, wild, reserved or interior free) is -EINVAL under the policy `refuse` and
 * a panic under `panic`: then the call returns -ENOTRECOVERABLE, the text is in mm_last_panic(), and the machine is
 * dead: every later call on it returns -ENOTRECOVERABLE too.
 */
#ifndef CORONEL_MM_H
#define CORONEL_MM_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define GFP_KERNEL 1u

/* Allocates 2^order frames in a row, aligned to their size; the number of the first frame, or -ENOMEM, or -EINVAL when
 * order > 11 or gfp_flags is not GFP_KERNEL. Their contents are undefined. */
int64_t alloc_pages(unsigned order, unsigned gfp_flags);

/* Gives back what alloc_pages() returned, with the same order; 0 or a negative errno. */
int free_pages(uint64_t pfn, unsigned order);

#ifdef __cplusplus
}
#endif
#endif
