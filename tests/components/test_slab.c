/* Object caches through KOS's names: reuse, alignment, contents, constructors, and what a cache says of a misuse.
 * SPDX-License-Identifier: MIT
 */
#include "component.h"

#define OBJECTS 1000u
#define BYTES 100u
#define ALIGN 64u
#define WORD UINT64_C(0x636f6e7374727563)

static void* objects[OBJECTS];
static unsigned constructed;

static void construct(void* object) {
  const uint64_t word = WORD;
  memcpy(object, &word, sizeof word);
  ++constructed;
}

static void contents(void) {
  part("1 000 objects of 100 bytes, aligned to 64");
  struct kmem_cache* const cache = kmem_cache_create("contents", BYTES, ALIGN, 0, NULL);
  if (!CHECK("the cache is made", cache != NULL)) return;
  int aligned = 1, kept = 1, given = 1;
  for (unsigned n = 0; n < OBJECTS; ++n) {
    objects[n] = kmem_cache_alloc(cache, GFP_KERNEL);
    aligned &= objects[n] != NULL && (uintptr_t)objects[n] % ALIGN == 0;
    fill(objects[n], BYTES, n);
  }
  for (unsigned n = 0; n < OBJECTS; ++n) kept &= is_filled(objects[n], BYTES, n);
  CHECK("each is aligned", aligned);
  CHECK("each keeps its own bytes: none overlaps another", kept);
  CHECK("the cache does not end meanwhile", kmem_cache_destroy(cache) == -EBUSY);
  for (unsigned n = 0; n < OBJECTS; n += 3) given &= kmem_cache_free(cache, objects[n]) == 0;
  for (unsigned n = 0; n < OBJECTS; n += 3)
    fill(objects[n] = kmem_cache_alloc(cache, GFP_ATOMIC), BYTES, n + 1);
  for (unsigned n = 0; n < OBJECTS; ++n) kept &= is_filled(objects[n], BYTES, n % 3 == 0 ? n + 1 : n);
  CHECK("the others keep them while some go and come", kept);
  for (unsigned n = 0; n < OBJECTS; ++n) given &= kmem_cache_free(cache, objects[n]) == 0;
  CHECK("each is taken back", given);
  CHECK("what it holds can be given back", kmem_cache_shrink(cache) > 0);
  CHECK("the cache ends", kmem_cache_destroy(cache) == 0);
  CHECK("and is none any more",
        kmem_cache_destroy(cache) == -ENOENT && kmem_cache_alloc(cache, GFP_KERNEL) == NULL);
}

static void reuse(void) {
  part("objects that come back");
  struct kmem_cache* const cache = kmem_cache_create("reuse", 48, 0, 0, construct);
  if (!CHECK("a cache with a constructor is made", cache != NULL)) return;
  CHECK("nothing is constructed before it is needed", constructed == 0);
  void* const first = kmem_cache_alloc(cache, GFP_KERNEL);
  void* const second = kmem_cache_alloc(cache, GFP_KERNEL);
  const uint64_t word = WORD;
  CHECK("an object is constructed", first != NULL && memcmp(first, &word, sizeof word) == 0);
  CHECK("the other one, too", second != NULL && second != first && memcmp(second, &word, sizeof word) == 0);
  const unsigned before = constructed;
  ((unsigned char*)first)[40] = 99;
  CHECK("the first goes", kmem_cache_free(cache, first) == 0);
  CHECK("and is the next to come", kmem_cache_alloc(cache, GFP_KERNEL) == first);
  CHECK("as it was released", ((unsigned char*)first)[40] == 99 && memcmp(first, &word, sizeof word) == 0);
  CHECK("constructed once only", constructed == before);
  CHECK("both go", kmem_cache_free(cache, first) == 0 && kmem_cache_free(cache, second) == 0);
  CHECK("NULL is nothing to do", kmem_cache_free(cache, NULL) == 0);
  CHECK("the cache ends", kmem_cache_destroy(cache) == 0);
}

static void bulk(void) {
  part("many at once");
  struct kmem_cache* const cache = kmem_cache_create("bulk", 200, 0, SLAB_CACHE_DMA, NULL);
  if (!CHECK("a cache below 16 MiB is made", cache != NULL)) return;
  CHECK("100 objects come", kmem_cache_alloc_bulk(cache, GFP_KERNEL, 100, objects) == 0);
  int low = 1;
  for (unsigned n = 0; n < 100; ++n)
    low &= (unsigned char*)objects[n] < (unsigned char*)mm_frame_bytes(DMA_END / PAGE);
  CHECK("all below 16 MiB", low);
  void* const last = objects[99];
  objects[99] = objects[98];
  CHECK_REFUSED("one of them twice: none goes", kmem_cache_free_bulk(cache, 100, objects), EINVAL,
                "double free");
  objects[99] = last;
  CHECK("all of them go", kmem_cache_free_bulk(cache, 100, objects) == 0);
  CHECK("the cache ends", kmem_cache_destroy(cache) == 0);
}

static void misuses(void) {
  part("what is wrong is named, and changes nothing");
  struct kmem_cache* const cache = kmem_cache_create("wrong", BYTES, 0, 0, NULL);
  struct kmem_cache* const other = kmem_cache_create("wrong", BYTES, 0, 0, NULL);
  unsigned char* const object = kmem_cache_alloc(cache, GFP_KERNEL);
  int global = 0;
  if (!CHECK("two caches of one name, and an object", cache != other && object != NULL)) return;
  fill(object, BYTES, 7);
  CHECK_REFUSED("another cache's", kmem_cache_free(other, object), EINVAL,
                "freed to another cache than it was allocated from");
  CHECK_REFUSED("to kfree", kfree(object), EINVAL, "freed to another cache than it was allocated from");
  CHECK_REFUSED("its inside", kmem_cache_free(cache, object + 8), EINVAL, "free of the inside of an object");
  CHECK("no cache is none: nothing, an object, the inside of a cache, a variable",
        kmem_cache_alloc(NULL, GFP_KERNEL) == NULL &&
            kmem_cache_destroy((struct kmem_cache*)object) == -ENOENT &&
            kmem_cache_free((struct kmem_cache*)((char*)cache + 8), object) == -ENOENT &&
            kmem_cache_shrink((struct kmem_cache*)&global) == -ENOENT);
  CHECK_REFUSED("no object", kmem_cache_free(cache, &global), EINVAL, "free of an address that is no object");
  CHECK("no flags, or memory that it has not",
        kmem_cache_alloc(cache, 0) == NULL && kmem_cache_alloc(cache, GFP_DMA) == NULL);
  CHECK("the object is what it was", is_filled(object, BYTES, 7) && kmem_cache_free(cache, object) == 0);
  CHECK_REFUSED("a second time", kmem_cache_free(cache, object), EINVAL, "double free");
  CHECK("no name, no size, no alignment, too large, unknown flags: no cache",
        kmem_cache_create(NULL, 8, 8, 0, NULL) == NULL && kmem_cache_create("", 8, 8, 0, NULL) == NULL &&
            kmem_cache_create("a", 0, 8, 0, NULL) == NULL && kmem_cache_create("a", 8, 12, 0, NULL) == NULL &&
            kmem_cache_create("a", 8 * MIB, 8, 0, NULL) == NULL &&
            kmem_cache_create("a", 8, 8, 2, NULL) == NULL);
  CHECK("both caches end", kmem_cache_destroy(cache) == 0 && kmem_cache_destroy(other) == 0);
}

static void body(void) {
  contents();
  reuse();
  bulk();
  misuses();
}

int main(void) { return run_component("test_slab", body); }
