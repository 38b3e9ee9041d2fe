// The host library's kernel heap beside malloc under churn, as harness.hpp says; and without the C face and the frames,
// on one range that grows. `make bench` runs it.
// SPDX-License-Identifier: MIT
//
// Then figures of the blocks that live when the churn is over: bytes asked for, and bytes that they take. `blocks` counts
// blocks with their headers, ours alone; `held` all that the heap has from its source, or what the process holds more
// than before.
#include <sys/mman.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "bench/host/harness.hpp"
#include "mm/base/random.hpp"
#include "mm/host/capi.hpp"

namespace {

using namespace memory;
using bench::counting;
using bench::fail;
using bench::measure;
using bench::tell;

constexpr std::size_t kLive = 10'000;

struct Block {
  void* at = nullptr;
  std::uint32_t bytes = 0;
};

struct Step {
  std::uint32_t slot;
  std::uint32_t bytes;
};

struct Coronel {
  static void* allocate(std::size_t bytes) {
    std::uint64_t address = 0;
    if (mm_heap_malloc(bytes, 0, &address) != 0) fail("no memory");
    return reinterpret_cast<void*>(address);
  }
  static void release(void* block) {
    if (mm_heap_free(reinterpret_cast<std::uint64_t>(block)) != 0) fail("a block was not taken back");
  }
  static HeapLevels levels() { return (*bench::machine->machine)->manager().kernel_heap().levels(); }
  static std::size_t held() { return levels().total_bytes; }
};

// As brk: one range, longer and shorter at its end.
class Window final : public PageSource {
 public:
  static constexpr std::size_t kBytes = std::size_t{1} << 30;

  Window() {
    void* const at =
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) fail("no range");
    base_ = static_cast<std::byte*>(at);
  }
  Result<VirtRange> grow(VirtRange range, std::size_t pages) override {
    if (range.empty() && used_ != 0) return Error::no_memory;
    if (pages * kPageSize > kBytes - used_) return Error::no_memory;
    used_ += pages * kPageSize;
    const VirtAddr first{reinterpret_cast<std::uint64_t>(base_)};
    return VirtRange{first, first + used_};
  }
  std::size_t shrink(VirtRange, std::size_t pages) override {
    used_ -= pages * kPageSize;
    madvise(base_ + used_, pages * kPageSize, MADV_DONTNEED);
    return pages;
  }

 private:
  std::byte* base_ = nullptr;
  std::size_t used_ = 0;
};

Window window;
FailPlan plan;
KernelHeap growing(window, plan, 0x0123'4567'89ab'cdef);

struct Growing {
  static void* allocate(std::size_t bytes) {
    const auto made = growing.malloc(bytes);
    if (!made.ok()) fail("no memory");
    return made.take();
  }
  static void release(void* block) {
    if (!growing.free(block).ok()) fail("a block was not taken back");
  }
  static HeapLevels levels() { return growing.levels(); }
  static std::size_t held() { return levels().total_bytes; }
};

struct Malloc {
  static void* allocate(std::size_t bytes) {
    void* const block = std::malloc(bytes);
    if (block == nullptr) fail("no memory");
    return block;
  }
  static void release(void* block) { std::free(block); }
  // statm's figure is only near it.
  static std::size_t held() {
    std::FILE* const file = std::fopen("/proc/self/smaps_rollup", "r");
    if (file == nullptr) fail("no smaps_rollup");
    char line[256];
    unsigned long kib = 0;
    while (kib == 0 && std::fgets(line, sizeof line, file) != nullptr)
      (void)std::sscanf(line, "Rss: %lu kB", &kib);
    std::fclose(file);
    if (kib == 0) fail("no Rss in smaps_rollup");
    return std::size_t{kib} << 10;
  }
};

// 16 B to 2 KiB, as many in each doubling.
std::uint32_t draw(Random& random) {
  const double part = static_cast<double>(random.below(1 << 20)) / (1 << 20);
  return static_cast<std::uint32_t>(16 * std::exp2(7 * part));
}

// Memory that nobody touched is not held yet.
void touch(const Block& block) { std::memset(block.at, 1, block.bytes); }

// A step releases a random one of the live blocks and allocates another; drawn before.
template <typename Allocator>
void churn(const std::string& name) {
  Random random{1};
  std::vector<Step> steps(counting ? 20'000 : 1'000'000);
  for (Step& step : steps) step = {static_cast<std::uint32_t>(random.below(kLive)), draw(random)};
  std::vector<Block> blocks(kLive);
  const std::size_t before = Allocator::held();
  for (Block& block : blocks) {
    const std::uint32_t bytes = draw(random);
    block = {Allocator::allocate(bytes), bytes};
    touch(block);
  }
  measure((name + "-churn").c_str(), steps.size(), [&] {
    for (const Step& step : steps) {
      Block& block = blocks[step.slot];
      Allocator::release(block.at);
      block = {Allocator::allocate(step.bytes), step.bytes};
    }
  });
  std::size_t asked = 0;
  for (const Block& block : blocks) {
    asked += block.bytes;
    touch(block);
  }
  if constexpr (requires { Allocator::levels(); })
    tell((name + "-blocks").c_str(), asked, Allocator::levels().used_bytes);
  tell((name + "-held").c_str(), asked, Allocator::held() - before);
  for (const Block& block : blocks) Allocator::release(block.at);
}

void ours() {
  churn<Coronel>("heap");
  churn<Growing>("growing");
}

}  // namespace

int main(int count, char** words) {
  return bench::run_for(count, words, ours, [] { churn<Malloc>("heap"); });
}
