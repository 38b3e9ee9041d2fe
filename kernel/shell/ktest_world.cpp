// The kernel's answers to tests/unit/world.hpp: storage out of the frame allocator, %gs for the CPU.
// SPDX-License-Identifier: MIT
#include "kernel/shell/ktest_world.hpp"

#include <algorithm>
#include <array>

#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "mm/memory_manager.hpp"
#include "tests/unit/world.hpp"

namespace kernel::shell {

namespace {

using memory::FrameNumber;
using memory::kMaxOrder;
using memory::kPageSize;

constexpr std::size_t kBlockBytes = memory::bytes_in(kMaxOrder);
constexpr std::size_t kBlocks = (unit::kStorageBytes + kBlockBytes - 1) / kBlockBytes;

// Neighbouring blocks of the largest order make one piece of memory in the direct map.
class Storage {
 public:
  // False when the kernel has no kBlocks neighbours free.
  bool open();
  void close();
  void reset() { used_ = 0; }

  std::span<std::byte> take(std::size_t bytes) {
    const std::size_t rounded = (bytes + kPageSize - 1) / kPageSize * kPageSize;
    if (rounded > kBlocks * kBlockBytes - used_ || !open()) return {};
    std::byte* const piece = memory::manager().physical().frames().open(first_).bytes() + used_;
    used_ += rounded;
    return {piece, bytes};
  }

 private:
  static constexpr std::size_t kMostTries = 64;

  static bool are_neighbours(std::span<const FrameNumber> blocks) {
    return blocks.back() - blocks.front() == (blocks.size() - 1) * memory::frames_in(kMaxOrder);
  }
  static void free(FrameNumber block) { CHECK(memory::manager().free_pages(block, kMaxOrder).ok()); }

  FrameNumber first_ = memory::kNoFrame;
  std::size_t used_ = 0;
};

// Takes block after block until kBlocks of them are neighbours, then gives the others back.
bool Storage::open() {
  if (first_ != memory::kNoFrame) return true;
  std::array<FrameNumber, kMostTries> taken{};
  std::size_t count = 0;
  std::size_t run = 0;  // index of the first of the neighbours
  while (count < kMostTries && first_ == memory::kNoFrame) {
    const auto block = memory::manager().alloc_pages(kMaxOrder);
    if (!block.ok()) break;
    taken[count++] = block.take();
    std::sort(taken.begin(), taken.begin() + count);
    for (std::size_t i = 0; i + kBlocks <= count && first_ == memory::kNoFrame; ++i) {
      if (!are_neighbours({taken.data() + i, kBlocks})) continue;
      first_ = taken[i];
      run = i;
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (first_ == memory::kNoFrame || i < run || i >= run + kBlocks) free(taken[i]);
  }
  return first_ != memory::kNoFrame;
}

void Storage::close() {
  if (first_ == memory::kNoFrame) return;
  for (std::size_t i = 0; i < kBlocks; ++i) free(first_ + i * memory::frames_in(kMaxOrder));
  first_ = memory::kNoFrame;
}

constinit Storage storage;

}  // namespace

void end_test_world() {
  stand_on_cpu(boot_percpu);
  storage.reset();
}

void release_test_storage() { storage.close(); }

}  // namespace kernel::shell

std::span<std::byte> unit::storage(std::size_t bytes) { return kernel::shell::storage.take(bytes); }

memory::PerCpu* unit::stand_on(memory::PerCpu* cpu) {
  memory::PerCpu* const former = &memory::platform::percpu();
  kernel::stand_on_cpu(*cpu);
  return former;
}
