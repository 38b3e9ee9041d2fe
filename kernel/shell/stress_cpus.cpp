// SPDX-License-Identifier: MIT
//
// Each CPU has a page of the scratch window that it alone maps, to one frame after another. A frame's first and last word
// say which generation it is; `published` is the latest whose shootdown has been answered. So a reader that loads
// published, the word, and published again must find the word between the two, or one ahead of the second. A translation
// that survived its flush shows a frame that was overwritten before it was given back.
//
//   writer   fill frame g+1 | change the entry | flush here and everywhere | published = g+1 | spoil frame g, free it
//   reader                      before = published | word | after = published        before <= word <= after + 1
#include "kernel/shell/stress_cpus.hpp"

#include <array>
#include <new>

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/task/scheduler.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/check.hpp"
#include "mm/base/format.hpp"
#include "mm/base/random.hpp"
#include "mm/memory_manager.hpp"
#include "mm/virtual/kernel_space.hpp"
#include "mm/virtual/page_table.hpp"

namespace kernel::shell {

namespace {

using memory::FrameNumber;
using memory::Order;
using memory::PhysAddr;
using memory::Result;
using memory::VirtAddr;
using memory::stats::Counter;

constexpr std::size_t kHeld = 160;
constexpr std::uint64_t kStale = 0x57a1'e57a'1e57'a1e5;
constexpr std::size_t kLastWord = memory::kPageSize / 8 - 1;
constexpr std::uint64_t kAllCpus = ~std::uint64_t{0};

struct Held {
  FrameNumber frame{};
  Order order{};
};

struct alignas(64) Worker {
  unsigned cpu = 0;
  std::uint64_t operations = 0;
  memory::Random random{1};
  memory::AtomicEntry* entry = nullptr;  // of its page in the window
  FrameNumber shown = memory::kNoFrame;
  alignas(64) std::atomic<std::uint64_t> published{0};
  alignas(64) CpuStressReport report{};
  std::size_t held = 0;
  std::array<Held, kHeld> blocks{};
};
static_assert(sizeof(Worker) <= memory::kPageSize);

// One run at a time: the shell's.
constinit std::array<Worker*, memory::config::max_cpus> workers{};
constinit std::atomic<bool> stop{false};

memory::MemoryManager& memory_manager() { return memory::manager(); }
std::uint64_t* words_of(FrameNumber frame) {
  return reinterpret_cast<std::uint64_t*>(memory_manager().physical().frames().open(frame).bytes());
}
VirtAddr page_of(unsigned cpu) { return memory::kernel_space::kScratch + cpu * memory::kPageSize; }

[[noreturn, gnu::cold]] void wrong(std::string_view what, std::uint64_t found, std::uint64_t wanted) {
  memory::TextBuffer<160> why;
  why.text("stress: ").text(what).text(": found ").hex(found).text(", wanted ").hex(wanted);
  memory::platform::panic(why.view());
}

// ---- frames

std::uint64_t stamp_of(const Worker& me, Held block) {
  return std::uint64_t{memory::raw(block.frame)} << 32 | me.cpu << 8 | memory::raw(block.order) | 0xa5u << 16;
}
std::size_t last_word(Order order) { return memory::bytes_in(order) / 8 - 1; }

void allocate(Worker& me) {
  const std::uint64_t dice = me.random.below(64);
  const Order order{static_cast<std::uint8_t>(dice == 0 ? 4 + me.random.below(5) : dice < 48 ? 0 : dice % 4)};
  const auto block = memory_manager().alloc_pages(order);
  if (!block.ok()) {
    ++me.report.refused;
    return;
  }
  const Held held{block.take(), order};
  std::uint64_t* const words = words_of(held.frame);
  words[0] = words[last_word(order)] = stamp_of(me, held);
  me.blocks[me.held++] = held;
  ++me.report.allocations;
}

void release(Worker& me, std::size_t slot) {
  const Held held = me.blocks[slot];
  const std::uint64_t* const words = words_of(held.frame);
  const std::uint64_t stamp = stamp_of(me, held);
  if (words[0] != stamp) wrong("a block's first word", words[0], stamp);
  if (words[last_word(held.order)] != stamp)
    wrong("a block's last word", words[last_word(held.order)], stamp);
  me.blocks[slot] = me.blocks[--me.held];
  CHECK(memory_manager().free_pages(held.frame, held.order).ok());
  ++me.report.releases;
}

// ---- translations

// Every generation of every CPU is another word.
std::uint64_t word_of(unsigned cpu, std::uint64_t generation) { return generation << 8 | cpu; }

bool show_next(Worker& me) {
  const auto fresh = memory_manager().alloc_pages(Order{0});
  if (!fresh.ok()) return false;
  const std::uint64_t generation = me.published.load(std::memory_order_relaxed) + 1;
  std::uint64_t* const words = words_of(fresh.take());
  words[0] = words[kLastWord] = word_of(me.cpu, generation);
  const VirtAddr page = page_of(me.cpu);
  const auto next = memory::PageEntry::leaf(memory::address_of(fresh.take()), memory::PageLevel::page,
                                            memory::Access::read_write);
  me.entry->exchange(next);
  memory::platform::flush_page(memory::SpaceId::kernel, page);
  memory::platform::flush_others(memory::SpaceId::kernel, {&page, 1}, kAllCpus);
  me.published.store(generation, std::memory_order_release);
  if (me.shown != memory::kNoFrame) {
    std::uint64_t* const old = words_of(me.shown);
    old[0] = old[kLastWord] = kStale;
    CHECK(memory_manager().free_pages(me.shown, Order{0}).ok());
  }
  me.shown = fresh.take();
  ++me.report.remaps;
  return true;
}

void read_through(Worker& me, const Worker& other) {
  const std::size_t word = me.random.below(2) * kLastWord;
  const std::uint64_t before = other.published.load(std::memory_order_acquire);
  const std::uint64_t found =
      *reinterpret_cast<const volatile std::uint64_t*>(page_of(other.cpu).value + 8 * word);
  const std::uint64_t after = other.published.load(std::memory_order_acquire);
  const std::uint64_t generation = found >> 8;
  if ((found & 0xff) != other.cpu || generation < before || generation > after + 1)
    wrong("read through a stale translation", found, word_of(other.cpu, before));
  ++me.report.reads;
  if (generation != before || before != after) ++me.report.crossings;
}

// ---- one CPU; setting up and ending have frames of their own, because both hold much for a short time

void work(void* context) {
  Worker& me = *static_cast<Worker*>(context);
  for (std::uint64_t n = 0; n < me.operations && !stop.load(std::memory_order_relaxed); ++n) {
    const bool full = me.held == kHeld;
    if (!full && (me.held == 0 || me.random.below(kHeld) >= me.held / 2 + kHeld / 4)) {
      allocate(me);
    } else {
      release(me, me.random.below(me.held));
    }
    ++me.report.operations;
    if (n % 64 == 0) static_cast<void>(show_next(me));
    if (n % 8 == 0) read_through(me, *workers[me.random.below(cpu_count())]);
  }
  while (me.held > 0) release(me, me.held - 1);
}

[[gnu::noinline]] Result<void> make_worker(unsigned cpu, std::uint64_t operations, std::uint64_t seed) {
  const FrameNumber room = TRY(memory_manager().alloc_pages(Order{0}));
  const auto mapped =
      memory::kernel_tables().map_pages(page_of(cpu), {&room, 1}, {.access = memory::Access::read_write});
  if (!mapped.ok()) {
    CHECK(memory_manager().free_pages(room, Order{0}).ok());
    return mapped;
  }
  workers[cpu] = new (words_of(room)) Worker{.cpu = cpu, .operations = operations};
  workers[cpu]->random = memory::Random{seed * 64 + cpu};
  // From here on the entry shows one frame after the other.
  const memory::TablePath path = memory::kernel_tables().path(page_of(cpu)).take();
  const memory::TablePath::Step& last = path.steps[path.count - 1];
  workers[cpu]->entry =
      reinterpret_cast<memory::AtomicEntry*>(words_of(memory::frame_at(last.table))) + last.index;
  return show_next(*workers[cpu]) ? Result<void>() : Result<void>(memory::Error::no_memory);
}

[[gnu::noinline]] void end_worker(Worker& worker, CpuStressReport& sum) {
  const CpuStressReport& part = worker.report;
  sum.operations += part.operations;
  sum.allocations += part.allocations;
  sum.releases += part.releases;
  sum.refused += part.refused;
  sum.remaps += part.remaps;
  sum.reads += part.reads;
  sum.crossings += part.crossings;
  const VirtAddr page = page_of(worker.cpu);
  {
    memory::FlushBatch flush(memory::kernel_tables());
    CHECK(memory::kernel_tables().unmap(page, memory::kPageSize, flush).ok());
  }
  if (worker.shown != memory::kNoFrame) CHECK(memory_manager().free_pages(worker.shown, Order{0}).ok());
  const PhysAddr room{reinterpret_cast<std::uint64_t>(&worker) - memory::kernel_space::kDirectMap.value};
  CHECK(memory_manager().free_pages(memory::frame_at(room), Order{0}).ok());
}

}  // namespace

[[gnu::noinline]] Result<CpuStressReport> stress_cpus(std::uint64_t operations, std::uint64_t seed,
                                                      bool (*keep_going)()) {
  const unsigned cpus = cpu_count();
  const std::int64_t shot_before = memory_manager().counter(Counter::shootdowns);
  CpuStressReport report;
  stop.store(false);
  memory::Error failure = memory::Error::ok;
  for (unsigned cpu = 0; cpu < cpus && failure == memory::Error::ok; ++cpu) {
    const std::uint64_t share = operations / cpus + (cpu < operations % cpus ? 1 : 0);
    failure = make_worker(cpu, share, seed).error();
  }
  std::array<Thread*, memory::config::max_cpus> threads{};
  for (unsigned cpu = 0; cpu < cpus && failure == memory::Error::ok; ++cpu) {
    const auto thread = spawn("stress", work, workers[cpu], cpu);
    if (thread.ok()) threads[cpu] = thread.take();
    failure = thread.error();
  }
  if (failure != memory::Error::ok) stop.store(true);
  for (Thread* thread : threads) {
    if (thread == nullptr) continue;
    while (thread->done.load(std::memory_order_acquire) == 0) {
      scheduler::sleep_ns(10'000'000);
      if (!keep_going()) stop.store(true);
    }
    join(*thread);
  }
  for (Worker*& worker : workers) {
    if (worker != nullptr) end_worker(*worker, report);
    worker = nullptr;
  }
  report.shootdowns = static_cast<std::uint64_t>(memory_manager().counter(Counter::shootdowns) - shot_before);
  if (failure != memory::Error::ok) return failure;
  return report;
}

}  // namespace kernel::shell
