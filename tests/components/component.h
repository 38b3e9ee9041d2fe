/* What the component programs share: a machine to run on, and checks that say what they looked at.
 * SPDX-License-Identifier: MIT
 *
 * Each program is a user of the installed library: C, its two headers, and nothing else of Coronel. It prints what it
 * does, a line `passed` or `failed` for each check, and exits with 0 when all passed. tests/host/test_components.py
 * runs them, `make components` by hand.
 */
#ifndef CORONEL_TESTS_COMPONENT_H
#define CORONEL_TESTS_COMPONENT_H
#include <coronel/mm.h>
#include <coronel/mm_host.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)
#define MEMORY (64 * MIB) /* the first page of it reserved */
#define DMA_END (16 * MIB)
#define DIRECT_END (48 * MIB) /* from here on it is HIGHMEM */
#define ROOM_END (80 * MIB)   /* so far it may grow */
#define FRAMES (ROOM_END / PAGE)

static unsigned checks, failures;
static unsigned frames_expected; /* free when nothing is allocated; who adds memory says so here */

/* A heading for the checks that follow. */
static inline void part(const char* what) { printf("%s\n", what); }

/* One check; whether it passed. */
#define CHECK(what, holds) check((what), (holds), __FILE__, __LINE__)
static inline int check(const char* what, int holds, const char* file, int line) {
  ++checks;
  printf("  %s: %s\n", holds ? "passed" : "failed", what);
  if (!holds) {
    ++failures;
    printf("    %s:%d; the last error was: %s\n", file, line, mm_last_error());
  }
  return holds;
}

/* The same for a call that is to be refused in those words. */
#define CHECK_REFUSED(what, call, number, words) CHECK(what, is_refused((call), (number), (words)))
static inline int is_refused(int64_t status, int number, const char* words) {
  return status == -number && strcmp(mm_last_error(), words) == 0;
}

/* Takes every frame that GFP_KERNEL and GFP_HIGHMEM can have and gives them back; how many there were. */
static inline unsigned free_frames(void) {
  static uint64_t taken[FRAMES];
  unsigned count = 0;
  int64_t pfn = 0;
  mm_shrink();
  while ((pfn = alloc_pages(0, GFP_ATOMIC | GFP_HIGHMEM)) >= 0) taken[count++] = (uint64_t)pfn;
  for (unsigned n = 0; n < count; ++n)
    if (free_pages(taken[n], 0) != 0) return 0;
  mm_quiesce();
  return count;
}

/* Fills bytes with a pattern that is theirs alone, and asks for it again. */
static inline unsigned char pattern_byte(unsigned number, size_t place) {
  return (unsigned char)(number * 37 + place % 251);
}
static inline void fill(void* bytes, size_t size, unsigned number) {
  for (size_t n = 0; n < size; ++n) ((unsigned char*)bytes)[n] = pattern_byte(number, n);
}
static inline int is_filled(const void* bytes, size_t size, unsigned number) {
  for (size_t n = 0; n < size; ++n)
    if (((const unsigned char*)bytes)[n] != pattern_byte(number, n)) return 0;
  return 1;
}
static inline int is_zero(const void* bytes, size_t size) {
  for (size_t n = 0; n < size; ++n)
    if (((const unsigned char*)bytes)[n] != 0) return 0;
  return 1;
}

/* Runs `body` on a new machine, where a misuse is refused, and sees that it gives everything back; main()'s result. */
static inline int run_component(const char* name, void (*body)(void)) {
  const struct mm_range memory = {0, MEMORY}, reserved = {0, PAGE};
  struct mm_shape shape;
  struct mm_machine* machine = NULL;
  memset(&shape, 0, sizeof shape);
  shape.memory = &memory;
  shape.memory_ranges = 1;
  shape.reserved = &reserved;
  shape.reserved_ranges = 1;
  shape.cpus = 1;
  shape.misuse_policy = MM_MISUSE_REFUSE;
  shape.direct_end = DIRECT_END;
  shape.room_end = ROOM_END;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (mm_machine_create(&shape, &machine) != 0 || mm_enter(machine, 0) != 0) {
    printf("%s: failed: no machine\n", name);
    return 1;
  }
  frames_expected = free_frames();
  body();
  part("at the end");
  CHECK("every frame came back", frames_expected != 0 && free_frames() == frames_expected);
  CHECK("the library's own proof holds", mm_valid() == 1);
  mm_machine_destroy(machine);
  printf("%s: %s, %u checks, %u failed\n", name, failures == 0 ? "passed" : "failed", checks, failures);
  return failures == 0 ? 0 : 1;
}

#endif
