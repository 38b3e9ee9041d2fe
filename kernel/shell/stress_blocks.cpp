// Blocks of frames: the first and the last word of each say who has it.
// SPDX-License-Identifier: MIT
#include "kernel/shell/stress_worker.hpp"
#include "mm/base/check.hpp"

namespace kernel::shell {

namespace {

using memory::Order;

std::uint64_t* words_of(memory::FrameNumber frame) {
  return reinterpret_cast<std::uint64_t*>(memory::manager().physical().frames().open(frame).bytes());
}

std::uint64_t stamp_of(const StressWorker& me, HeldBlock block) {
  return std::uint64_t{memory::raw(block.frame)} << 32 | me.cpu << 8 | memory::raw(block.order) | 0xa5u << 16;
}
std::size_t last_word(Order order) { return memory::bytes_in(order) / 8 - 1; }

void allocate(StressWorker& me) {
  const std::uint64_t dice = me.random.below(64);
  const Order order{static_cast<std::uint8_t>(dice == 0 ? 4 + me.random.below(5) : dice < 48 ? 0 : dice % 4)};
  const auto block = memory::manager().alloc_pages(order);
  if (!block.ok()) {
    ++me.report.refused;
    return;
  }
  const HeldBlock held{block.take(), order};
  std::uint64_t* const words = words_of(held.frame);
  words[0] = words[last_word(order)] = stamp_of(me, held);
  me.blocks[me.held++] = held;
  me.count(StressPath::allocations);
}

void release(StressWorker& me, std::size_t slot) {
  const HeldBlock held = me.blocks[slot];
  const std::uint64_t* const words = words_of(held.frame);
  const std::uint64_t stamp = stamp_of(me, held);
  if (words[0] != stamp) stress_fails("a block's first word", words[0], stamp);
  if (words[last_word(held.order)] != stamp)
    stress_fails("a block's last word", words[last_word(held.order)], stamp);
  me.blocks[slot] = me.blocks[--me.held];
  CHECK(memory::manager().free_pages(held.frame, held.order).ok());
  me.count(StressPath::releases);
}

}  // namespace

void work_on_blocks(StressWorker& me) {
  constexpr std::size_t kMost = StressWorker::kBlocks;
  const bool full = me.held == kMost;
  if (!full && (me.held == 0 || me.random.below(kMost) >= me.held / 2 + kMost / 4)) {
    allocate(me);
  } else {
    release(me, me.random.below(me.held));
  }
  ++me.report.operations;
}

void release_blocks(StressWorker& me) {
  while (me.held > 0) release(me, me.held - 1);
}

}  // namespace kernel::shell
