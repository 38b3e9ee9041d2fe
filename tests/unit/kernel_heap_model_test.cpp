// The heap against the simplest thing that could be true: a table of blocks, each full of its own pattern.
// SPDX-License-Identifier: MIT
#include <cstring>

#include "mm/base/random.hpp"
#include "tests/unit/heap_world.hpp"

using namespace memory;

namespace {

struct Held {
  unsigned char* at;
  std::size_t bytes;
  unsigned char pattern;
};

struct Model {
  static constexpr std::size_t kBlocks = 400;

  explicit Model(std::uint64_t seed) : random(seed) {}

  // Sizes of all magnitudes.
  std::size_t any_size() { return random.below(std::uint64_t{16} << random.below(12)); }

  void fill(Held& held, std::size_t from) { std::memset(held.at + from, held.pattern, held.bytes - from); }
  bool intact(const Held& held, std::size_t bytes) const {
    for (std::size_t n = 0; n < bytes; ++n)
      if (held.at[n] != held.pattern) return false;
    return true;
  }

  void keep(void* made, std::size_t bytes, std::size_t align) {
    blocks[count] = {static_cast<unsigned char*>(made), bytes, static_cast<unsigned char>(random.next())};
    EXPECT_EQ(reinterpret_cast<std::uint64_t>(made) % align, 0u);
    fill(blocks[count++], 0);
  }

  void allocate(KernelHeap& heap) {
    const std::size_t bytes = any_size();
    const std::size_t align = random.below(4) == 0 ? std::size_t{1} << random.below(14) : 16;
    const auto made = align == 16 ? heap.malloc(bytes) : heap.memalign(align, bytes);
    if (made.ok()) {
      keep(made.take(), bytes, align);
    } else {
      EXPECT_EQ(made.error(), Error::no_memory);
    }
  }
  void release(KernelHeap& heap) {
    Held& held = blocks[random.below(count)];
    EXPECT(intact(held, held.bytes));
    EXPECT(heap.free(held.at).ok());
    EXPECT(!heap.free(held.at).ok());
    held = blocks[--count];
  }
  void resize(KernelHeap& heap) {
    Held& held = blocks[random.below(count)];
    const std::size_t bytes = any_size();
    const auto made = heap.realloc(held.at, bytes);
    if (!made.ok()) return;
    held.at = static_cast<unsigned char*>(made.take());
    const std::size_t kept = bytes < held.bytes ? bytes : held.bytes;
    held.bytes = bytes;
    EXPECT(intact(held, kept));
    fill(held, kept);
  }
  void misuse(KernelHeap& heap) {
    const Held& held = blocks[random.below(count)];
    if (held.bytes < 2) return;
    EXPECT_EQ(heap.free(held.at + random.between(1, held.bytes - 1)).error(), Error::interior_free);
  }

  void step(KernelHeap& heap) {
    const std::uint64_t action = random.below(100);
    if (action == 0) {
      heap.shrink();
    } else if (count == 0 || (action < (filling ? 60 : 40) && count < kBlocks)) {
      allocate(heap);
    } else if (action < 80) {
      release(heap);
    } else if (action < 95) {
      resize(heap);
    } else {
      misuse(heap);
    }
    if (random.below(300) == 0) filling = !filling;
  }

  void check(const KernelHeap& heap) const {
    EXPECT(heap.validate_heap());
    std::size_t asked = 0;
    for (std::size_t n = 0; n < count; ++n) asked += blocks[n].bytes;
    EXPECT(heap.get_total_allocated() >= asked);
    EXPECT(heap.get_total_allocated() <=
           asked + count * 64);  // 24 for the smallest, a rest too small to split
    EXPECT_EQ(heap.levels().active_blocks, count);
  }

  Random random;
  std::size_t count = 0;
  bool filling = true;
  Held blocks[kBlocks];
};

void run(unit::Arena::Ranges ranges) {
  auto* const world = unit::fresh<unit::HeapWorld>(ranges);
  auto* const model = unit::fresh<Model>(unit::seed());
  ASSERT(world != nullptr && model != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  for (unsigned n = 0; n < 6000; ++n) {
    model->step(heap);
    if (n % 100 == 0) model->check(heap);
  }
  while (model->count > 0) model->release(heap);
  model->check(heap);
  heap.shrink();
  EXPECT_EQ(world->arena.held(), 0u);
}

}  // namespace

TEST(kernel_heap_model, agrees_over_one_range_that_grows_and_shrinks) { run(unit::Arena::Ranges::elastic); }
TEST(kernel_heap_model, agrees_over_ranges_that_come_and_go) { run(unit::Arena::Ranges::rigid); }
