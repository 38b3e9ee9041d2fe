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

/* Caches of equal objects. What fails with NULL or a negative errno is told by mm_last_error() (mm_host.h) in words. */
struct kmem_cache;

#define SLAB_CACHE_DMA 1u /* objects below 16 MiB */

/* Makes a cache of objects of `size` bytes, aligned to `align` (a power of two, 0 for 8). `ctor`, if not NULL, constructs
 * each object once, when its memory comes to the cache: an object is handed out as it was released. The name is copied:
 * 1 to 31 printable characters. NULL for arguments that make no sense, for want of memory, or beyond 239 caches. */
struct kmem_cache* kmem_cache_create(const char* name, size_t size, size_t align, unsigned flags,
                                     void (*ctor)(void*));

/* Ends a cache. -EBUSY while objects of it are allocated, -ENOENT when it is none; then nothing has changed. */
int kmem_cache_destroy(struct kmem_cache* cache);

/* An object, its contents undefined but for what ctor made of it; NULL for want of memory or for bad flags. */
void* kmem_cache_alloc(struct kmem_cache* cache, unsigned gfp_flags);

/* Takes an object back; 0 or a negative errno: a misuse is -EINVAL or a panic, as free_pages(). NULL is nothing to do. */
int kmem_cache_free(struct kmem_cache* cache, void* object);

/* The same for `count` objects: all of them, or none. */
int kmem_cache_alloc_bulk(struct kmem_cache* cache, unsigned gfp_flags, size_t count, void** objects);
int kmem_cache_free_bulk(struct kmem_cache* cache, size_t count, void** objects);

/* Gives back what the cache holds and nobody uses; how many frames that were, or a negative errno. */
int64_t kmem_cache_shrink(struct kmem_cache* cache);

/* Memory of any size up to 8 MiB; NULL for want of memory, for more, for bad flags. 0 bytes are served as one. */
void* kmalloc(size_t size, unsigned gfp_flags);
void* kzalloc(size_t size, unsigned gfp_flags);               /* all of it zero */
void* kcalloc(size_t count, size_t size, unsigned gfp_flags); /* the same for a product, if it is a size */
void* kmalloc_array(size_t count, size_t size, unsigned gfp_flags); /* without the zeroes */

/* The memory with room for `size` bytes, its contents kept as far as that goes; NULL when it cannot be, and then it is as
 * it was. It stays where it is if kmalloc(size) would give as much, else it moves, also to become smaller. NULL asks for
 * new memory. */
void* krealloc(void* object, size_t size, unsigned gfp_flags);

/* Takes memory back; 0 or a negative errno, as kmem_cache_free(). kfree_sized() wants the size that was asked for last, of
 * kmalloc() or of the krealloc() that succeeded; a size that is served otherwise is a misuse. */
int kfree(void* object);
int kfree_sized(void* object, size_t size);

/* Bytes that may be used there, at least as many as were asked for; 0 when it is no memory of kmalloc's. */
size_t ksize(const void* object);

/* Page tables. A tree of them is named by the physical address of its root table; its lower half is the caller's, its
 * upper half shows the kernel, where there is one. Flags are those of an entry on x86-64; PTE_PAT is the third bit of the
 * cache type, whatever the page's size. A page may be written or executed, not both; a user's page is not global. */
#define PTE_PRESENT 0x1ull /* may be given, and is what is meant */
#define PTE_WRITE 0x2ull
#define PTE_USER 0x4ull
#define PTE_PWT 0x8ull
#define PTE_PCD 0x10ull
#define PTE_ACCESSED 0x20ull /* told, not to be given, as the next two */
#define PTE_DIRTY 0x40ull
#define PTE_HUGE 0x80ull /* of map_page(): a page of 2 MiB */
#define PTE_GLOBAL 0x100ull
#define PTE_PAT 0x1000ull
#define PTE_NX 0x8000000000000000ull

/* An empty tree, which pgd_free() ends; its root, or 0 for want of memory or of ids (mm_last_error()). */
uint64_t pgd_alloc(void);

/* Gives back the tree's tables; what they map is the caller's. 0; -EINVAL when it is none, -EBUSY while a CPU has it. */
int pgd_free(uint64_t pgd);

/* Maps the page at `virt` to the one at `phys`. 0; -EEXIST when something is mapped there, -EINVAL for addresses that are
 * not aligned to the page's size, not canonical or not in the lower half, for bad flags and for a bad pgd; -ENOMEM. A
 * failure changes nothing. */
int map_page(uint64_t pgd, uint64_t virt, uint64_t phys, uint64_t flags);

/* Takes away the page of any size that begins at `virt`, flushes it where the tree is in use, and gives back tables that
 * became empty. 0; -ENOENT when nothing is mapped there, -EINVAL inside of a page, beyond the lower half or for a bad pgd. */
int unmap_page(uint64_t pgd, uint64_t virt);

/* The physical address that `virt` leads to; -ENOENT when nothing is mapped there, -EINVAL as above. */
int64_t virt_to_phys_pgtable(uint64_t pgd, uint64_t virt);

#ifdef __cplusplus
}
#endif
#endif
