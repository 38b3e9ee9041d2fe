/* The frame allocator through KOS's names: orders, splits and merges, zones, and what it says of a misuse.
 * SPDX-License-Identifier: MIT
 */
#include "component.h"

#define MAX_ORDER 11

static uint64_t blocks[FRAMES];

/* Takes every block of that order; how many. */
static unsigned take_all(unsigned order) {
  unsigned count = 0;
  int64_t pfn = 0;
  while ((pfn = alloc_pages(order, GFP_ATOMIC | GFP_HIGHMEM)) >= 0) blocks[count++] = (uint64_t)pfn;
  return count;
}

static int give_all(unsigned count, unsigned order) {
  int status = 0;
  for (unsigned n = 0; n < count; ++n) status |= free_pages(blocks[n], order);
  return status;
}

static void orders(void) {
  int64_t pfns[MAX_ORDER + 1];
  int aligned = 1, apart = 1, kept = 1, given = 1;
  part("a block of every order");
  for (unsigned order = 0; order <= MAX_ORDER; ++order) {
    const int64_t pfn = pfns[order] = alloc_pages(order, GFP_KERNEL);
    aligned &= pfn > 0 && pfn % (1 << order) == 0;
    for (unsigned other = 0; other < order; ++other)
      apart &= pfn + (1 << order) <= pfns[other] || pfns[other] + (1 << other) <= pfn;
    if (pfn > 0)
      for (unsigned n = 0; n < 1u << order; ++n) fill(mm_frame_bytes((uint64_t)pfn + n), PAGE, order + n);
  }
  for (unsigned order = 0; order <= MAX_ORDER; ++order) {
    for (unsigned n = 0; n < 1u << order; ++n)
      kept &= is_filled(mm_frame_bytes((uint64_t)pfns[order] + n), PAGE, order + n);
    given &= free_pages((uint64_t)pfns[order], order) == 0;
  }
  CHECK("each is aligned to its size", aligned);
  CHECK("none overlaps another", apart);
  CHECK("each keeps what is written to it", kept);
  CHECK("each is taken back", given);
}

static void splits_and_merges(void) {
  static uint64_t singles[1 << MAX_ORDER];
  part("the largest block, split into single frames and merged again");
  const unsigned all = take_all(MAX_ORDER);
  CHECK("memory has blocks of the largest order", all >= 6 && all <= MEMORY / (PAGE << MAX_ORDER));
  CHECK("one more is refused", alloc_pages(MAX_ORDER, GFP_ATOMIC | GFP_HIGHMEM) == -ENOMEM);
  const uint64_t block = blocks[0];
  CHECK("one is given back", free_pages(block, MAX_ORDER) == 0);
  unsigned inside = 0;
  for (unsigned n = 0; n < 1u << MAX_ORDER; ++n) {
    const int64_t pfn = alloc_pages(0, GFP_ATOMIC | GFP_HIGHMEM);
    singles[n] = (uint64_t)pfn;
    inside += pfn >= 0 && (uint64_t)pfn >= block && (uint64_t)pfn < block + (1u << MAX_ORDER);
  }
  /* What is too small to be in a block of the largest order may serve some of them. */
  CHECK("its frames are handed out one by one", inside > (1u << MAX_ORDER) / 2);
  int given = 1;
  for (unsigned n = 0; n < 1u << MAX_ORDER; n += 2) given &= free_pages(singles[n], 0) == 0;
  CHECK("every other frame is no block of two", alloc_pages(MAX_ORDER, GFP_ATOMIC | GFP_HIGHMEM) == -ENOMEM);
  for (unsigned n = 1; n < 1u << MAX_ORDER; n += 2) given &= free_pages(singles[n], 0) == 0;
  CHECK("all of them are given back", given && mm_quiesce() == 0);
  CHECK("they are one block again", alloc_pages(MAX_ORDER, GFP_ATOMIC | GFP_HIGHMEM) == (int64_t)block);
  CHECK("everything is given back", give_all(all, MAX_ORDER) == 0);
}

static void zones(void) {
  part("zones");
  const int64_t dma = alloc_pages(2, GFP_DMA), high = alloc_pages(2, GFP_USER | GFP_HIGHMEM);
  const int64_t kernel = alloc_pages(2, GFP_KERNEL);
  CHECK("GFP_DMA lies below 16 MiB", dma >= 0 && (uint64_t)dma < DMA_END / PAGE);
  CHECK("GFP_HIGHMEM lies beyond the direct map", high >= 0 && (uint64_t)high >= DIRECT_END / PAGE);
  CHECK("GFP_KERNEL lies inside it", kernel >= 0 && (uint64_t)kernel < DIRECT_END / PAGE);
  int given = free_pages((uint64_t)dma, 2) | free_pages((uint64_t)high, 2) | free_pages((uint64_t)kernel, 2);
  CHECK("all are given back", given == 0);
}

static void misuses(void) {
  part("what is wrong is named, and changes nothing");
  const uint64_t pfn = (uint64_t)alloc_pages(3, GFP_KERNEL);
  CHECK_REFUSED("another order", free_pages(pfn, 2), EINVAL,
                "freed with another order than it was allocated with");
  CHECK_REFUSED("the inside of a block", free_pages(pfn + 1, 0), EINVAL, "free of the inside of a block");
  CHECK_REFUSED("a reserved frame", free_pages(0, 0), EINVAL, "free of a reserved frame");
  CHECK_REFUSED("no frame", free_pages(UINT64_C(1) << 40, 0), EINVAL, "free of a frame that does not exist");
  CHECK_REFUSED("an order too large", alloc_pages(MAX_ORDER + 1, GFP_KERNEL), EINVAL, "invalid argument");
  CHECK_REFUSED("no flags", alloc_pages(0, 0), EINVAL, "invalid argument");
  CHECK_REFUSED("two zones", alloc_pages(0, GFP_DMA | GFP_HIGHMEM), EINVAL, "invalid argument");
  CHECK("the block is still ours to give back", free_pages(pfn, 3) == 0);
  CHECK_REFUSED("a second time", free_pages(pfn, 3), EINVAL, "double free");
}

static void more_memory(void) {
  part("memory that is added");
  CHECK_REFUSED("what is present", buddy_add_memory(MEMORY - MIB, MEMORY), EEXIST, "already present");
  CHECK("half a frame is refused", buddy_add_memory(MEMORY, MEMORY + 100) == -EINVAL);
  CHECK("nothing is refused", buddy_add_memory(MEMORY, MEMORY) == -EINVAL);
  CHECK("too much is refused", buddy_add_memory(MEMORY, UINT64_C(1) << 50) == -E2BIG);
  CHECK("nothing has changed", free_frames() == frames_expected);
  CHECK("4 MiB more are taken", buddy_add_memory(MEMORY, MEMORY + 4 * MIB) == 0);
  const unsigned now = free_frames(), more = now - frames_expected;
  CHECK("and serve, but for what describes them",
        now > frames_expected && more > 1000 && more <= 4 * MIB / PAGE);
  frames_expected = now;
}

static void body(void) {
  orders();
  splits_and_merges();
  zones();
  misuses();
  more_memory();
}

int main(void) { return run_component("test_buddy", body); }
