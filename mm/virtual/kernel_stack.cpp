// KernelStacks: ranges with a guard page below, reused while they are mapped.
//
// A kept stack is a range that is `leaving`: to give it back again is a double free, and its addresses are nobody's. When
// it is handed out again its range becomes the new owner's (KernelRanges::renew).
// SPDX-License-Identifier: MIT
#include "mm/virtual/kernel_stack.hpp"

#include <algorithm>

#include "mm/base/check.hpp"
#include "mm/base/format.hpp"
#include "mm/stats/stats.hpp"

namespace memory {

namespace {

constexpr std::uint64_t kCanary = 0x5afe'57ac'0bad'c0de;

KernelStack stack_in(const KernelRange& range) { return {range.body().first, range.body().end}; }

}  // namespace

std::byte* KernelStacks::bytes_at(VirtAddr at) const {
  const auto bytes = vmalloc_.open(at);
  CHECK(bytes.ok());
  return bytes.take();
}

std::uint64_t& KernelStacks::canary_of(VirtAddr bottom) const {
  return *reinterpret_cast<std::uint64_t*>(bytes_at(bottom));
}

void KernelStacks::clear(VirtAddr bottom) const {
  for (std::uint64_t at = 0; at < kBytes; at += kPageSize) platform::clear_page(bytes_at(bottom + at));
}

Result<KernelStack> KernelStacks::allocate(const Origin& origin) {
  KernelRange* range = nullptr;
  {
    Spin<Rank::range>::Hold hold(lock_);
    if (kept_.count > 0) range = kept_.ranges[--kept_.count];
  }
  if (range != nullptr) {
    vmalloc_.ranges().renew(*range, origin.owner, origin.number, origin.caller);
    clear(range->body().first);
    stats::add(stats::Counter::stacks_reused);
  } else {
    range = TRY(vmalloc_.allocate_range({.bytes = kBytes,
                                         .guard_below = 1,
                                         .guard_above = 1,
                                         .kind = RangeKind::stack,
                                         .owner = origin.owner,
                                         .number = origin.number,
                                         .caller = origin.caller},
                                        {Vmalloc::Contents::zeroed, Gfp::kernel}));
  }
  const KernelStack stack = stack_in(*range);
  canary_of(stack.bottom) = kCanary ^ stack.bottom.value;
  return stack;
}

Result<void> KernelStacks::release(const KernelStack& stack) {
  const auto taken = vmalloc_.ranges().take_back(stack.bottom, RangeKind::stack);
  if (!taken.ok()) {
    stats::add(stats::Counter::range_misuses);
    return taken.error();
  }
  KernelRange& range = *taken.take();
  if (!canary_intact(stack_in(range))) [[unlikely]] {
    TextBuffer<120> why;
    why.text("stack of ").text(range.owner.view()).text(" ").number(range.number);
    why.text(": its canary at ").address(stack.bottom.value).text(" was overwritten");
    platform::panic(why.view());
  }
  {
    Spin<Rank::range>::Hold hold(lock_);
    if (kept_.count < kKept) {
      kept_.ranges[kept_.count++] = &range;
      return {};
    }
  }
  vmalloc_.release_range(range);
  return {};
}

bool KernelStacks::canary_intact(const KernelStack& stack) const {
  return canary_of(stack.bottom) == (kCanary ^ stack.bottom.value);
}

namespace {

// Bytes from the first word on that is not 0.
std::uint64_t bytes_from_first_used(std::span<const std::uint64_t> words) {
  const auto first = std::find_if(words.begin(), words.end(), [](std::uint64_t word) { return word != 0; });
  return static_cast<std::uint64_t>(words.end() - first) * sizeof(std::uint64_t);
}

}  // namespace

std::uint64_t KernelStacks::used_bytes(std::span<const std::uint64_t> words) {
  return bytes_from_first_used(words.subspan(1));
}

std::uint64_t KernelStacks::high_water_bytes(const KernelStack& stack) const {
  constexpr std::uint64_t kWords = kPageSize / sizeof(std::uint64_t);
  for (std::uint64_t page = 0; page < kBytes; page += kPageSize) {
    const std::span words(reinterpret_cast<const std::uint64_t*>(bytes_at(stack.bottom + page)), kWords);
    const std::uint64_t used = page == 0 ? used_bytes(words) : bytes_from_first_used(words);
    if (used != 0) return kBytes - page - kPageSize + used;
  }
  return 0;
}

std::size_t KernelStacks::shrink() {
  Kept kept;
  {
    Spin<Rank::range>::Hold hold(lock_);
    kept = kept_;
    kept_.count = 0;
  }
  for (std::size_t n = 0; n < kept.count; ++n) vmalloc_.release_range(*kept.ranges[n]);
  return kept.count;
}

std::size_t KernelStacks::kept() const {
  Spin<Rank::range>::Hold hold(lock_);
  return kept_.count;
}

}  // namespace memory
