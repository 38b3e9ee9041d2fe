// KernelStacks: stacks for CPUs and threads, each with an unmapped page below it, a canary and a high-water mark.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <span>

#include "mm/virtual/vmalloc.hpp"

namespace memory {

// Memory, low to high:
//
//   | guard, 4 KiB | canary | ........ untouched: zero ........ | in use |
//   ^ never mapped  ^ bottom                                              ^ top
// Standard layout: outside readers follow it.
struct KernelStack {
  VirtAddr bottom;
  VirtAddr top;
  bool operator==(const KernelStack&) const = default;
  bool holds(VirtAddr address) const { return bottom <= address && address < top; }
};

// A few released stacks stay mapped for the next who wants one. Synchronised; not from interrupt handlers, no spin lock
// held.
class KernelStacks {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{config::kernel_stack_kib} << 10;
  static constexpr std::size_t kKept = 4;

  explicit KernelStacks(Vmalloc& vmalloc) : vmalloc_(vmalloc) {}
  KernelStacks(const KernelStacks&) = delete;
  KernelStacks& operator=(const KernelStacks&) = delete;

  // A stack for `origin`: owner "CPU" or "thread", and which. A fault in its guard page says so. Zeroed. Fails with
  // no_memory.
  Result<KernelStack> allocate(const Origin& origin);

  // Takes it back. Precondition: nobody runs on it. Panics when its canary was overwritten. Fails with a misuse error,
  // nothing changed, when `stack` is none that is in use.
  Result<void> release(const KernelStack& stack);

  // The most bytes that were ever in use since it was handed out: everything above the lowest word that is not 0.
  std::uint64_t high_water_bytes(const KernelStack& stack) const;
  // The same of the words of any stack, the lowest one left out: that is the canary's place.
  static std::uint64_t used_bytes(std::span<const std::uint64_t> words);
  bool canary_intact(const KernelStack& stack) const;

  // Unmaps those that are kept; how many that were.
  std::size_t shrink();
  std::size_t kept() const;

 private:
  // Stacks are told by their ranges: in use `allocated`, kept `leaving`, under the owner that they had last.
  struct Kept {
    std::array<KernelRange*, kKept> ranges{};
    std::size_t count = 0;
  };

  std::byte* bytes_at(VirtAddr at) const;
  std::uint64_t& canary_of(VirtAddr bottom) const;
  void clear(VirtAddr bottom) const;

  Vmalloc& vmalloc_;
  mutable Spin<Rank::range> lock_;
  Kept kept_ GUARDED_BY(lock_);
};

}  // namespace memory
