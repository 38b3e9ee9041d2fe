// SPDX-License-Identifier: MIT
#include "kernel/leak_roots.hpp"

#include <algorithm>

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/probe.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/image.hpp"
#include "kernel/task/scheduler.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/check.hpp"
#include "mm/memory_manager.hpp"

namespace kernel {

namespace {

using memory::FoundRange;
using memory::kPageSize;
using memory::RangeKind;
using memory::RootVisitor;
using memory::VirtAddr;
using memory::VirtRange;

// .data and .bss, but for the boot CPU's stacks and the pages below them, which are not mapped.
void show_image(RootVisitor& to) {
  std::array<KernelStack, kStackUses> stacks = image_stacks().stacks;
  std::ranges::sort(stacks, {}, [](const KernelStack& stack) { return stack.bottom.value; });
  VirtAddr at = address_of(data_start);
  for (const KernelStack& stack : stacks) {
    to.visit({at, VirtAddr{stack.bottom.value - kPageSize}});
    at = stack.top;
  }
  to.visit({at, address_of(bss_end)});
}

// Where the part of the thread's stack that is in use begins.
std::uint64_t used_from(const Thread& thread, const StandingStacks& standing) {
  for (unsigned n = 0; n < cpu_count(); ++n)
    if (&scheduler::running_on(cpu_at(n)) == &thread) return standing[n];
  return thread.stack_pointer;
}

void show_stacks(RootVisitor& to, const StandingStacks& standing) {
  all_threads().with([&](Threads& threads) {
    for (const Thread& thread : threads) {
      const VirtAddr from{used_from(thread, standing)};
      CHECK(thread.stack.holds(from));
      to.visit({from, thread.stack.top});
    }
  });
}

// The pages of a range that are mapped: whoever was stopped may have been about to map or unmap the others.
void show_range(RootVisitor& to, const FoundRange& range) {
  if (range.state != memory::RangeState::allocated) return;
  if (range.kind != RangeKind::vmalloc && range.kind != RangeKind::per_cpu) return;
  for (VirtAddr page = range.body.first; page < range.body.end; page = page + kPageSize) {
    std::uint64_t word = 0;
    if (range.guards(page) || !probe_read(reinterpret_cast<const std::uint64_t*>(page.value), &word))
      continue;
    to.visit({page, page + kPageSize});
  }
}

}  // namespace

// The ranges' lock is taken before nobody runs any more who could let it go.
void KernelRoots::while_still(void (*body)(void*), void* context) {
  struct Errand {
    KernelRoots& roots;
    void (*body)(void*);
    void* context;
  };
  Errand errand{*this, body, context};
  memory::manager().addresses().ranges().inspect([&](const memory::KernelRanges::Walk& walk) {
    ranges_ = &walk;
    kernel::while_still(
        [](void* of, const StandingStacks& stacks) {
          const auto& mine = *static_cast<const Errand*>(of);
          mine.roots.stacks_ = &stacks;
          mine.body(mine.context);
        },
        &errand);
  });
}

// An interrupt may use the same words meanwhile, but it is over before the next one is written.
[[gnu::noinline]] void forget_dead_frames() {
  constexpr std::uint64_t kMost = 8192;
  constexpr std::uint64_t kCanary = 64;
  std::uint64_t top = 0;
  asm volatile("movq %%rsp, %0" : "=r"(top));
  const std::uint64_t least = current_thread().stack.bottom.value + kCanary;
  for (std::uint64_t at = std::max(least, top - kMost); at < top; at += sizeof at) {
    auto* const word = reinterpret_cast<volatile std::uint64_t*>(at);
    if (*word != 0) *word = 1;
  }
}

void KernelRoots::show(RootVisitor& to) {
  show_image(to);
  show_stacks(to, *stacks_);
  ranges_->for_each([&to](const FoundRange& range) { show_range(to, range); });
  const auto first = reinterpret_cast<std::uint64_t>(held_.data());
  to.visit({VirtAddr{first}, VirtAddr{first + held_.size_bytes()}});
}

}  // namespace kernel
