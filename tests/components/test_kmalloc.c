/* The kmalloc family through KOS's names: every size, zeroes, resizing, sized releases, and what is refused.
 * SPDX-License-Identifier: MIT
 */
#include "component.h"

#define LARGEST (8 * MIB)

static void sizes(void) {
  static void* objects[500];
  static size_t usable[500];
  unsigned count = 0;
  int served = 1, aligned = 1, kept = 1, given = 1;
  part("every size up to 256, then in steps up to 300 000");
  for (size_t size = 0; size < 300000; size = size < 256 ? size + 1 : size + size / 20 + 1, ++count) {
    void* const object = objects[count] = kmalloc(size, GFP_KERNEL);
    usable[count] = ksize(object);
    served &= object != NULL && usable[count] >= size && usable[count] > 0;
    aligned &= (uintptr_t)object % (size <= 8 ? 8 : 16) == 0;
    if (size >= 8 && (size & (size - 1)) == 0)
      aligned &= (uintptr_t)object % (size < PAGE ? size : PAGE) == 0;
    fill(object, usable[count], count);
  }
  for (unsigned n = 0; n < count; ++n) {
    kept &= is_filled(objects[n], usable[n], n);
    given &= kfree(objects[n]) == 0;
  }
  CHECK("each has room for what was asked for", served);
  CHECK("each is aligned, powers of two to themselves", aligned);
  CHECK("each keeps its own bytes as far as ksize() says: none overlaps another", kept);
  CHECK("each is taken back", given);
}

static void limits(void) {
  part("nothing, the most, and more than that");
  void* const nothing = kmalloc(0, GFP_KERNEL);
  void* const other = kmalloc(0, GFP_KERNEL);
  CHECK("0 bytes have an address of their own", nothing != NULL && other != NULL && nothing != other);
  CHECK("both go", kfree(nothing) == 0 && kfree_sized(other, 0) == 0);
  void* const most = kmalloc(LARGEST, GFP_KERNEL);
  CHECK("8 MiB are served, to the byte", most != NULL && ksize(most) == LARGEST && kfree(most) == 0);
  CHECK("one byte more is not",
        kmalloc(LARGEST + 1, GFP_KERNEL) == NULL && kzalloc(SIZE_MAX, GFP_KERNEL) == NULL);
  CHECK("a product that overflows is not", kcalloc(SIZE_MAX / 2, 3, GFP_KERNEL) == NULL &&
                                               kmalloc_array(SIZE_MAX, SIZE_MAX, GFP_KERNEL) == NULL &&
                                               kcalloc(SIZE_MAX / 16 + 2, 16, GFP_KERNEL) == NULL &&
                                               kmalloc_array(SIZE_MAX / 16 + 2, 16, GFP_KERNEL) == NULL);
  CHECK("memory beyond the direct map is not, nor without flags",
        kmalloc(10, GFP_HIGHMEM) == NULL && kmalloc(LARGEST, GFP_HIGHMEM) == NULL && kmalloc(10, 0) == NULL);
  void* const low = kmalloc(3000, GFP_DMA);
  CHECK(
      "below 16 MiB is, where it is asked for",
      low != NULL && (unsigned char*)low < (unsigned char*)mm_frame_bytes(DMA_END / PAGE) && kfree(low) == 0);
}

static void zeroes(void) {
  static const size_t kSizes[] = {1, 60, 700, 8192, 40000};
  int all = 1;
  part("zeroes where others wrote");
  for (unsigned n = 0; n < sizeof kSizes / sizeof *kSizes; ++n) {
    for (unsigned turn = 0; turn < 3; ++turn) {
      void* const used = kmalloc(kSizes[n], GFP_KERNEL);
      memset(used, 0xff, ksize(used));
      all &= kfree(used) == 0;
      void* const clean = turn == 0   ? kzalloc(kSizes[n], GFP_KERNEL)
                          : turn == 1 ? kcalloc(kSizes[n], 1, GFP_KERNEL)
                                      : kcalloc(1, kSizes[n], GFP_KERNEL);
      all &= clean != NULL && is_zero(clean, ksize(clean)) && kfree(clean) == 0;
    }
  }
  CHECK("kzalloc() and kcalloc() clear all that may be used", all);
  void* const array = kmalloc_array(25, 40, GFP_KERNEL);
  CHECK("kmalloc_array() has room for its product",
        array != NULL && ksize(array) >= 1000 && kfree(array) == 0);
}

static void resizing(void) {
  static const size_t kSizes[] = {100, 113, 5000, 9000, 70000, 100000, 3000, 60, 57, 1, 0, 200};
  size_t had = 0;
  void* object = NULL;
  int kept = 1, roomy = 1;
  part("krealloc through many sizes");
  for (unsigned n = 0; n < sizeof kSizes / sizeof *kSizes; ++n) {
    object = krealloc(object, kSizes[n], GFP_KERNEL);
    kept &= object != NULL && is_filled(object, had < kSizes[n] ? had : kSizes[n], n - 1);
    roomy &= ksize(object) >= kSizes[n];
    fill(object, had = kSizes[n], n);
  }
  CHECK("its bytes come along", kept);
  CHECK("there is room for the new size", roomy);
  CHECK("what is too large fails", krealloc(object, LARGEST + 1, GFP_KERNEL) == NULL);
  CHECK("and the object is what it was", is_filled(object, 200, 11) && ksize(object) >= 200);
  CHECK("the same class stays where it is", krealloc(object, 193, GFP_KERNEL) == object);
  CHECK("a sized release wants the last size", kfree_sized(object, 193) == 0);
  object = krealloc(kmalloc(112, GFP_KERNEL), 57, GFP_KERNEL);
  CHECK_REFUSED("not the one before", kfree_sized(object, 112), EINVAL,
                "freed with another size than it was allocated with");
  CHECK("but the one that krealloc() was given", kfree_sized(object, 57) == 0);
}

static void misuses(void) {
  part("what is wrong is named, and changes nothing");
  unsigned char* const small = kmalloc(100, GFP_KERNEL);
  unsigned char* const large = kmalloc(50000, GFP_KERNEL);
  int global = 0;
  fill(small, 100, 1);
  fill(large, 50000, 2);
  CHECK_REFUSED("the inside of a small object", kfree(small + 16), EINVAL, "free of the inside of an object");
  CHECK_REFUSED("the inside of a large one", kfree(large + PAGE), EINVAL, "free of the inside of an object");
  CHECK_REFUSED("no object", kfree(&global), EINVAL, "free of an address that is no object");
  CHECK_REFUSED("another size", kfree_sized(small, 10), EINVAL,
                "freed with another size than it was allocated with");
  CHECK("krealloc() of the inside", krealloc(small + 1, 10, GFP_KERNEL) == NULL);
  CHECK("NULL is nothing to do", kfree(NULL) == 0 && kfree_sized(NULL, 10) == 0 && ksize(NULL) == 0);
  CHECK("both are what they were", is_filled(small, 100, 1) && is_filled(large, 50000, 2));
  CHECK("both go", kfree(small) == 0 && kfree(large) == 0);
  CHECK_REFUSED("the small one a second time", kfree(small), EINVAL, "double free");
  CHECK_REFUSED("the large one a second time", kfree(large), EINVAL, "double free");
}

static void body(void) {
  sizes();
  limits();
  zeroes();
  resizing();
  misuses();
}

int main(void) { return run_component("test_kmalloc", body); }
