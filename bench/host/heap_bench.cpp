// Instructions and fill of the kernel heap under churn, beside the process's malloc: run it as `usage` says.
//
// `live` blocks of random sizes; each step frees a random one and allocates another in its place. Slots and sizes are
// drawn before; the loop and the calls are in the figures.
// SPDX-License-Identifier: MIT
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "mm/base/random.hpp"
#include "mm/heap/kernel_heap.hpp"

using namespace memory;

namespace {

constexpr char kUsage[] =
    "usage: heap_bench heap|malloc uniform|log STEPS [LIVE]\n"
    "Prints the fill: bytes of memory held for each byte asked for, after STEPS steps. Instructions of a "
    "pair:\n"
    "  valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \\\n"
    "           --toggle-collect='churn_*' heap_bench heap uniform STEPS\n"
    "and divide \"Collected\" by STEPS. Other allocators: LD_PRELOAD=libmimalloc.so.2 heap_bench malloc "
    "...\n";

constexpr std::size_t kWindow = std::size_t{1} << 30;

// As brk: one range, longer and shorter at its end.
class Window final : public PageSource {
 public:
  Window()
      : base_(static_cast<std::byte*>(mmap(nullptr, kWindow, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {}
  Result<VirtRange> grow(VirtRange range, std::size_t pages) override {
    if (range.empty() && used_ != 0) return Error::no_memory;
    if (pages * kPageSize > kWindow - used_) return Error::no_memory;
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
  std::byte* base_;
  std::size_t used_ = 0;
};

struct Step {
  std::uint32_t slot;
  std::uint32_t bytes;
};

struct Block {
  void* at = nullptr;
  std::uint32_t bytes = 0;
};

std::size_t resident() {
  long pages = 0;
  long all = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%ld %ld", &all, &pages) != 2) std::abort();
  std::fclose(file);
  return static_cast<std::size_t>(pages) * kPageSize;
}

std::uint32_t draw(Random& random, bool logarithmic) {
  if (!logarithmic) return static_cast<std::uint32_t>(random.between(16, 2048));
  const double part = static_cast<double>(random.below(1 << 20)) / (1 << 20);
  return static_cast<std::uint32_t>(16 * std::exp2(7 * part));
}

Window window;
FailPlan plan;
KernelHeap heap(window, plan, 0x0123'4567'89ab'cdef);

}  // namespace

// Not in a namespace: callgrind matches these names.
[[gnu::noinline]] void churn_heap(std::vector<Block>& blocks, const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    Block& block = blocks[step.slot];
    if (!heap.free(block.at).ok()) std::abort();
    const auto made = heap.malloc(step.bytes);
    if (!made.ok()) std::abort();
    block = {made.take(), step.bytes};
  }
}
[[gnu::noinline]] void churn_malloc(std::vector<Block>& blocks, const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    Block& block = blocks[step.slot];
    std::free(block.at);
    block = {std::malloc(step.bytes), step.bytes};
    if (block.at == nullptr) std::abort();
  }
}

int main(int argc, char** argv) {
  if (argc < 4) return std::fputs(kUsage, stderr), 2;
  const bool ours = std::string_view(argv[1]) == "heap";
  const bool logarithmic = std::string_view(argv[2]) == "log";
  const std::size_t count = std::strtoul(argv[3], nullptr, 10);
  const std::size_t live = argc > 4 ? std::strtoul(argv[4], nullptr, 10) : 10'000;
  Random random{1};
  std::vector<Step> steps(count);
  for (Step& step : steps) step = {static_cast<std::uint32_t>(random.below(live)), draw(random, logarithmic)};
  std::vector<Block> blocks(live);
  std::free(std::malloc(1));
  const std::size_t before = resident();
  for (Block& block : blocks) {
    block.bytes = draw(random, logarithmic);
    block.at = ours ? heap.malloc(block.bytes).take() : std::malloc(block.bytes);
    std::memset(block.at, 1, block.bytes);
  }
  (ours ? churn_heap : churn_malloc)(blocks, steps);
  std::size_t asked = 0;
  for (const Block& block : blocks) {
    asked += block.bytes;
    std::memset(block.at, 1, block.bytes);
  }
  std::printf("fill by resident pages %.4f\n",
              static_cast<double>(resident() - before) / static_cast<double>(asked));
  if (!ours) return 0;
  const HeapLevels levels = heap.levels();
  std::printf("fill by its own numbers %.4f: %zu KiB held, %zu KiB asked for; %s\n",
              static_cast<double>(levels.total_bytes) / static_cast<double>(asked), levels.total_bytes >> 10,
              asked >> 10, heap.validate_heap() ? "valid" : "NOT VALID");
}
