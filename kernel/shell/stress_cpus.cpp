// A thread on each CPU, each with a frame for what it has; what they do is in stress_blocks, stress_page and stress_parcels.
// SPDX-License-Identifier: MIT
#include "kernel/shell/stress_cpus.hpp"

#include <array>
#include <new>

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/shell/stress_worker.hpp"
#include "kernel/task/scheduler.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/check.hpp"
#include "mm/base/format.hpp"
#include "mm/memory_manager.hpp"

namespace kernel::shell {

namespace {

using memory::Error;
using memory::FrameNumber;
using memory::KmemCache;
using memory::Order;
using memory::Result;
using memory::stats::Counter;

// Of so many operations on blocks one comes with each of these.
constexpr std::uint64_t kPerChange = 64;
constexpr std::uint64_t kPerRead = 8;
constexpr std::uint64_t kPerWrite = 32;
constexpr std::uint64_t kPerParcel = 32;
constexpr std::uint64_t kPerThread = 8192;

constexpr std::uint32_t kObjectBytes = 120;

// One run at a time: the shell's.
constinit std::array<StressWorker*, memory::config::max_cpus> workers{};
constinit std::atomic<bool> stop{false};

memory::MemoryManager& memory_manager() { return memory::manager(); }

StressWorker& anybody(StressWorker& me) { return *workers[me.random.below(cpu_count())]; }

void work(void* context) {
  StressWorker& me = *static_cast<StressWorker*>(context);
  for (std::uint64_t n = 0; n < me.operations && !stop.load(std::memory_order_relaxed); ++n) {
    work_on_blocks(me);
    if (n % kPerChange == 0) change_page(me);
    if (n % kPerRead == 0) read_page(me, anybody(me));
    if (n % kPerWrite == 0) write_page(me, anybody(me));
    if (n % kPerParcel == 0) offer_parcel(me);
    if (n % kPerParcel == kPerParcel / 2) free_parcel(me, anybody(me));
    if (n % kPerThread == 0) run_thread(me);
  }
  release_blocks(me);
}

Result<void> make_worker(unsigned cpu, std::uint64_t operations, std::uint64_t seed, KmemCache& cache) {
  const FrameNumber room = TRY(memory_manager().alloc_pages(Order{0}));
  std::byte* const bytes = memory_manager().physical().frames().open(room).bytes();
  workers[cpu] = new (bytes) StressWorker{.cpu = cpu, .operations = operations, .cache = &cache};
  workers[cpu]->random = memory::Random{seed * 64 + cpu};
  return {};
}

// No thread runs any more.
void end_worker(StressWorker& worker, CpuStressReport& sum) {
  take_page_away(worker);
  free_parcels(worker);
  sum.operations += worker.report.operations;
  sum.refused += worker.report.refused;
  for (std::size_t path = 0; path < kStressPaths; ++path) sum.paths[path] += worker.report.paths[path];
  const auto direct_map =
      reinterpret_cast<std::uint64_t>(memory_manager().physical().frames().map().direct_map);
  const memory::PhysAddr room{reinterpret_cast<std::uint64_t>(&worker) - direct_map};
  CHECK(memory_manager().free_pages(memory::frame_at(room), Order{0}).ok());
}

// A thread for each worker. Those that could be had are in `threads`.
Error start(std::array<Thread*, memory::config::max_cpus>& threads) {
  for (unsigned cpu = 0; cpu < cpu_count(); ++cpu) {
    const auto thread = spawn("stress", work, workers[cpu], cpu);
    if (!thread.ok()) return thread.error();
    threads[cpu] = thread.take();
  }
  return Error::ok;
}

void wait_for(Thread& thread, bool (*keep_going)()) {
  while (thread.done.load(std::memory_order_acquire) == 0) {
    scheduler::sleep_ns(10'000'000);
    if (!keep_going()) stop.store(true);
  }
  join(thread);
}

Error run(std::uint64_t operations, std::uint64_t seed, KmemCache& cache, bool (*keep_going)()) {
  const unsigned cpus = cpu_count();
  for (unsigned cpu = 0; cpu < cpus; ++cpu) {
    const std::uint64_t share = operations / cpus + (cpu < operations % cpus ? 1 : 0);
    if (const auto made = make_worker(cpu, share, seed, cache); !made.ok()) return made.error();
  }
  std::array<Thread*, memory::config::max_cpus> threads{};
  const Error failure = start(threads);
  if (failure != Error::ok) stop.store(true);
  for (Thread* thread : threads)
    if (thread != nullptr) wait_for(*thread, keep_going);
  return failure;
}

}  // namespace

std::string_view name_of(StressPath path) {
  constexpr std::string_view kNames[] = {
#define PATH(name, what) #name,
      STRESS_PATHS(PATH)
#undef PATH
  };
  return kNames[static_cast<std::size_t>(path)];
}

std::string_view text_of(StressPath path) {
  constexpr std::string_view kTexts[] = {
#define PATH(name, what) what,
      STRESS_PATHS(PATH)
#undef PATH
  };
  return kTexts[static_cast<std::size_t>(path)];
}

void stress_fails(std::string_view what, std::uint64_t found, std::uint64_t wanted) {
  memory::TextBuffer<160> why;
  why.text("stress: ").text(what).text(": found ").hex(found).text(", wanted ").hex(wanted);
  memory::platform::panic(why.view());
}

[[gnu::noinline]] Result<CpuStressReport> stress_cpus(std::uint64_t operations, std::uint64_t seed,
                                                      bool (*keep_going)()) {
  KmemCache* const cache =
      TRY(memory_manager().heap().create({.name = "stress", .object_bytes = kObjectBytes}));
  const std::int64_t shot_before = memory_manager().counter(Counter::shootdowns);
  stop.store(false);
  const Error failure = run(operations, seed, *cache, keep_going);
  CpuStressReport report;
  for (StressWorker*& worker : workers) {
    if (worker != nullptr) end_worker(*worker, report);
    worker = nullptr;
  }
  report.shootdowns = static_cast<std::uint64_t>(memory_manager().counter(Counter::shootdowns) - shot_before);
  CHECK(memory_manager().heap().destroy(*cache).ok());  // busy: an object was lost
  if (failure != Error::ok) return failure;
  return report;
}

}  // namespace kernel::shell
