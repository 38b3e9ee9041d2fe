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

/* Which memory will do, and how much may be done to get it: one or more of these, but not GFP_DMA with GFP_HIGHMEM. */
#define GFP_KERNEL 1u  /* directly mapped memory, down to the zone's minimum */
#define GFP_ATOMIC 2u  /* the same for those who cannot wait: the reserve below the minimum, too */
#define GFP_USER 4u    /* directly mapped memory for a program */
#define GFP_HIGHMEM 8u /* memory beyond the direct map first */
#define GFP_DMA 16u    /* below 16 MiB */

/* Allocates 2^order frames in a row, aligned to their size; the number of the first frame, or -ENOMEM, or -EINVAL when
 * order > 11 or the flags are not as above. Their contents are undefined. */
int64_t alloc_pages(unsigned order, unsigned gfp_flags);

/* Gives back what alloc_pages() returned, with the same order; 0 or a negative errno. */
int free_pages(uint64_t pfn, unsigned order);

/* Puts memory into service while the machine runs: bytes [first, end), whole frames. 0; -EINVAL when it is empty, not
 * whole frames or too small to describe itself; -EEXIST when a frame of it is present; -E2BIG beyond the limit of
 * memory, of ranges, or of the machine's room. A failure changes nothing. */
int buddy_add_memory(uint64_t first, uint64_t end);

#ifdef __cplusplus
}
#endif
#endif
