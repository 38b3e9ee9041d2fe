/* The host library around mm.h: machines to run it on, and what a test wants to see of them.
 * SPDX-License-Identifier: MIT
 *
 * Plain C declarations only, like mm.h. A machine may be entered by any number of threads, each on a CPU of its own
 * choice; creating and destroying is the caller's to order. Ranges are byte addresses, [first, end), whole frames.
 */
#ifndef CORONEL_MM_HOST_H
#define CORONEL_MM_HOST_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

struct mm_machine;
struct kmem_cache;

struct mm_range {
  uint64_t first;
  uint64_t end;
};

enum mm_misuse_policy { MM_MISUSE_PANIC = 0, MM_MISUSE_REFUSE = 1 };

struct mm_shape {
  const struct mm_range* memory; /* of which `reserved` (inside it) is never handed out */
  size_t memory_ranges;
  const struct mm_range* reserved;
  size_t reserved_ranges;
  unsigned cpus;
  int misuse_policy;
  uint64_t direct_end; /* bytes from here on are HIGHMEM; 0: none are */
  uint64_t room_end;   /* buddy_add_memory() may add memory up to here; 0: none */
  unsigned levels;     /* of page tables: 4 or 5; 0: 4 */
};

/* Makes a machine of that shape. All ranges ascend and do not overlap. Sets *out and returns 0; or -EINVAL for ranges
 * that are not so, -E2BIG for too many ranges or CPUs or memory beyond the library's limit, -ENOMEM. Its memory is the
 * process's, touched only when used. */
int mm_machine_create(const struct mm_shape* shape, struct mm_machine** out);

/* Frees a machine, dead or alive. Precondition: no thread is on it. NULL is nothing to do. */
void mm_machine_destroy(struct mm_machine* machine);

/* Puts the calling thread on that CPU of the machine until it enters another; NULL leaves. -EINVAL: no such CPU. */
int mm_enter(struct mm_machine* machine, unsigned cpu);

/* The text of the panic that killed the entered machine, or NULL while it lives. Valid until it is destroyed. */
const char* mm_last_panic(void);

/* Address of the machine's record: where Python's decoder starts (docs/formats.md). */
uint64_t mm_record(const struct mm_machine* machine);

/* Why the last free_pages() on this thread was refused, in words ("double free"); "success" when it was not. */
const char* mm_last_error(void);

enum mm_page_verb { MM_PAGE_ALLOC = 0, MM_PAGE_FREE = 1 };

/* One call of mm.h among many, and what came of it. */
struct mm_page_operation {
  uint32_t verb; /* an mm_page_verb */
  uint32_t order;
  uint32_t gfp_flags; /* alloc */
  uint32_t error;     /* set: 0, or a number for mm_error_text() */
  uint64_t pfn;       /* free */
  int64_t result;     /* set: what alloc_pages() or free_pages() returned */
};

/* Performs them in order, the failing ones too: the kernel's `pages`. How many were performed: fewer than `count` when
 * the machine died, or at the first verb that is none. A negative errno on a dead machine. */
int64_t mm_run_pages(struct mm_page_operation* operations, size_t count);

/* One call of the floor of objects among many, and what came of it. The letters are those of mm/object_call.hpp. */
struct mm_object_call {
  uint32_t letter;
  uint32_t error; /* set: 0, or a number for mm_error_text() */
  uint64_t first;
  uint64_t second;
  uint64_t result; /* set: an address or bytes; 0 after a failure */
};

/* As mm_run_pages(): the kernel's `objects`. */
int64_t mm_run_objects(struct mm_object_call* calls, size_t count);

/* One call of page tables among many, and what came of it. The letters are those of mm/table_call.hpp. */
struct mm_table_call {
  uint32_t letter;
  uint32_t error; /* set: 0, or a number for mm_error_text() */
  uint64_t numbers[5];
  uint64_t result; /* set: 0 after a failure */
};

/* As mm_run_pages(): the kernel's `tables`. */
int64_t mm_run_tables(struct mm_table_call* calls, size_t count);

/* The number of a cache, as `letter` a and f have it; 0 when it is none. */
unsigned mm_cache_number(const struct kmem_cache* cache);

/* The cache of that number, if kmem_cache_create() made it; else NULL. */
struct kmem_cache* mm_cache(unsigned number);

/* The words for mm_page_operation.error, as mm_last_error() has them; "success" for 0, NULL for what is no error. */
const char* mm_error_text(unsigned error);

/* The errno that it is told as; 0 for 0 and for what is no error. */
int mm_error_number(unsigned error);

/* Gives back what all caches and the kernel heap hold and nobody uses. 0 or a negative errno. */
int mm_shrink(void);

/* The kernel heap. Sets *address to a block of `bytes` bytes at a multiple of `align`, a power of two; 0 leaves the
 * alignment to the heap. 0, -ENOMEM, or -EINVAL for an alignment that is none. */
int mm_heap_malloc(uint64_t bytes, uint64_t align, uint64_t* address);

/* Sets *address to the block with its contents made `bytes` large, at `payload` or elsewhere; 0 for `payload` asks for a
 * new one. 0, -ENOMEM, or -EINVAL for a misuse; then the block is what it was. */
int mm_heap_realloc(uint64_t payload, uint64_t bytes, uint64_t* address);

/* Gives back a block; 0, or -EINVAL for a misuse, in words in mm_last_error(). */
int mm_heap_free(uint64_t payload);

/* Gives back pages that the heap has no use for; how many, or a negative errno. */
int64_t mm_heap_shrink(void);

/* What mm_break_heap() did: which object it misused, the address that it freed wrongly, and what the heap answered, a
 * number for mm_error_text(). */
struct mm_broken_heap {
  uint64_t object;
  uint64_t address;
  uint32_t error;
};

/* The kernel's `break heap`: an error in the use of the heap, made on purpose, its kind by name ("double_free"). `cache`:
 * the number of one, 0 for kmalloc, 240 for the kernel heap. The rest is as in mm/heap_break.hpp. 0 or a negative errno;
 * under the policy `panic` it kills the machine. The report is in the machine's memory. */
int mm_break_heap(const char* kind, unsigned cache, uint64_t bytes, unsigned object, uint64_t offset,
                  unsigned site, struct mm_broken_heap* broken);

/* What a scan for objects that nobody can reach has seen: see mm/heap/leak_scan.hpp. */
struct mm_leak_count {
  uint64_t objects; /* that were judged */
  uint64_t leaks;
  uint64_t leaked_bytes;
  uint64_t words; /* that were looked at */
};

/* The kernel's `kmemleak scan`. Every word at a multiple of 8 in the bytes `roots` of this process may be a pointer; what
 * only the rest of it points to is a leak. 0 or a negative errno: -EOPNOTSUPP in a build without debug_kmemleak.
 * Precondition: nobody else is on the machine. What was found is in the machine's memory. */
int mm_find_leaks(const struct mm_range* roots, size_t count, struct mm_leak_count* found);

/* The kernel's `kmemleak clear`: how many leaks are no news any more, or a negative errno. */
int64_t mm_clear_leaks(void);

/* Sends home what all CPUs' magazines hold: then levels, counters and a walk agree. Precondition: nobody else is on the
 * machine. 0 or a negative errno. */
int mm_quiesce(void);

/* Lets the n-th allocation from now on fail, once; 0 ends the plan. While one is armed the magazines are out of
 * service. 0 or a negative errno. */
int mm_fail_nth(uint64_t n);

/* 1 while the armed failure is still to come, else 0; negative errno on a dead machine. */
int mm_fail_pending(void);

/* What was refused when the armed failure came ("a block of frames out of a zone"); NULL while it is still to come, when
 * none is armed, or on a dead machine. */
const char* mm_fail_site(void);

/* 1 when every invariant of the entered machine holds, 0 when not, negative errno on a dead machine. */
int mm_valid(void);

struct mm_stress_report {
  uint64_t operations;
  uint64_t allocations;
  uint64_t releases;
  uint64_t refused;
  uint64_t misuses;
  uint64_t live_blocks;
  uint64_t live_frames;
};

/* The kernel's `stress pages`: that many random operations from the seed. hold != 0 keeps what is live at the end
 * allocated (it goes with the machine), else everything is given back. 0 or a negative errno. */
int mm_stress_pages(uint64_t operations, uint64_t seed, int hold, struct mm_stress_report* report);

/* Bytes of the frame, for tests that write into memory; NULL when it is not present. */
void* mm_frame_bytes(uint64_t pfn);

#ifdef __cplusplus
}
#endif
#endif
