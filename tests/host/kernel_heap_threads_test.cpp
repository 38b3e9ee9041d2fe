// Threads in one heap: blocks stay their owners', also when another thread frees them, and nothing is lost.
// SPDX-License-Identifier: MIT
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "mm/base/random.hpp"
#include "tests/unit/heap_world.hpp"

using namespace memory;

namespace {

constexpr unsigned kThreads = 4;
constexpr unsigned kSteps = 4000;

struct Block {
  unsigned char* at;
  std::size_t bytes;
};

// Blocks that their allocators left for whoever comes.
class Exchange {
 public:
  void leave(Block block) {
    const std::scoped_lock hold(lock_);
    blocks_.push_back(block);
  }
  bool take(Block& block) {
    const std::scoped_lock hold(lock_);
    if (blocks_.empty()) return false;
    block = blocks_.back();
    blocks_.pop_back();
    return true;
  }

 private:
  std::mutex lock_;
  std::vector<Block> blocks_;
};

}  // namespace

TEST(kernel_heap_threads, share_a_heap_that_grows_and_shrinks) {
  auto* const world = unit::fresh<unit::HeapWorld>();
  ASSERT(world != nullptr && world->arena.ok());
  KernelHeap& heap = world->heap;
  Exchange exchange;
  std::atomic<unsigned> wrong{0};
  const auto free_one = [&](const Block& block) {
    for (std::size_t n = 1; n < block.bytes; ++n) wrong += block.at[n] != block.at[0];
    wrong += !heap.free(block.at).ok();
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned thread = 0; thread < kThreads; ++thread)
      threads.emplace_back([&, thread] {
        Random random{unit::seed() + thread};
        for (unsigned n = 0; n < kSteps; ++n) {
          Block block;
          if (random.below(2) == 0 && exchange.take(block)) {
            free_one(block);
            continue;
          }
          block.bytes = random.between(1, std::uint64_t{16} << random.below(9));
          const auto made = heap.malloc(block.bytes);
          if (!made.ok()) continue;  // the arena is small
          block.at = static_cast<unsigned char*>(made.take());
          std::memset(block.at, static_cast<int>(thread + 1), block.bytes);
          random.below(4) == 0 ? free_one(block) : exchange.leave(block);
          if (n % 500 == 0) wrong += !heap.validate_heap();
          if (n % 700 == 0) heap.shrink();
        }
      });
  }
  Block block;
  while (exchange.take(block)) free_one(block);
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT(heap.validate_heap());
  EXPECT_EQ(heap.levels().active_blocks, 0u);
  heap.shrink();
  EXPECT_EQ(world->arena.held(), 0u);
}
