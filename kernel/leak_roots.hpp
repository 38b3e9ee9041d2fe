// KernelRoots: where the kernel keeps pointers to objects: its data, every thread's stack and registers, kernel ranges.
// SPDX-License-Identifier: MIT
#pragma once
#include <span>

#include "kernel/still.hpp"
#include "mm/heap/leak_scan.hpp"
#include "mm/virtual/kernel_range.hpp"

namespace kernel {

// `held`: addresses of objects that somebody outside the kernel knows. Not from interrupt handlers; no spin lock is held.
class KernelRoots final : public memory::LeakRoots {
 public:
  explicit KernelRoots(std::span<const std::uint64_t> held) : held_(held) {}

  void while_still(void (*body)(void*), void* context) override;
  // Data and .bss but for the stacks in them; of each stack what is in use; memory of vmalloc and per-CPU areas.
  void show(memory::RootVisitor& to) override;

 private:
  std::span<const std::uint64_t> held_;
  // While still:
  const StandingStacks* stacks_ = nullptr;
  const memory::KernelRanges::Walk* ranges_ = nullptr;
};

// What functions that have returned left on this thread's stack below the caller says nothing from now on: the frames of
// those that are called next would else show it to a scan. How much of the stack was ever used stays to be seen.
void forget_dead_frames();

}  // namespace kernel
