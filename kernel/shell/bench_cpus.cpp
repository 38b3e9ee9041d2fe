// SPDX-License-Identifier: MIT
#include "kernel/shell/bench_cpus.hpp"

#include <algorithm>
#include <array>
#include <atomic>

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/check.hpp"
#include "mm/memory_manager.hpp"

namespace kernel::shell {

namespace {

using memory::Error;
using memory::Order;

struct Race {
  std::uint64_t pairs = 0;
  unsigned cpus = 0;
  std::atomic<unsigned> ready{0};
  std::atomic<bool> called_off{false};
  std::atomic<std::uint64_t> slowest_ns{0};
  std::atomic<bool> ran_out{false};
};

// Nobody's CPU sleeps between the last arrival and the start: they spin. One who was not to be had calls the race off.
bool wait_for_all(Race& race) {
  race.ready.fetch_add(1, std::memory_order_acq_rel);
  while (race.ready.load(std::memory_order_acquire) < race.cpus) {
    if (race.called_off.load(std::memory_order_acquire)) return false;
    memory::platform::relax();
  }
  return true;
}

void run(void* context) {
  Race& race = *static_cast<Race*>(context);
  memory::MemoryManager& manager = memory::manager();
  if (!wait_for_all(race)) return;
  const std::uint64_t start = clock::now_ns();
  for (std::uint64_t n = 0; n < race.pairs; ++n) {
    const auto frame = manager.alloc_pages(Order{0});
    if (!frame.ok()) {
      race.ran_out.store(true, std::memory_order_relaxed);
      break;
    }
    CHECK(manager.free_pages(frame.take(), Order{0}).ok());
  }
  const std::uint64_t spent = clock::now_ns() - start;
  std::uint64_t slowest = race.slowest_ns.load(std::memory_order_relaxed);
  while (slowest < spent &&
         !race.slowest_ns.compare_exchange_weak(slowest, spent, std::memory_order_relaxed)) {
  }
}

}  // namespace

memory::Result<CpuBenchRow> bench_cpus(unsigned cpus, std::uint64_t pairs) {
  CHECK(1 <= cpus && cpus <= cpu_count());
  Race race;
  race.pairs = pairs;
  race.cpus = cpus;
  std::array<Thread*, memory::config::max_cpus> threads{};
  Error failure = Error::ok;
  for (unsigned cpu = 0; cpu < cpus && failure == Error::ok; ++cpu) {
    const auto thread = spawn("bench", run, &race, cpu);
    failure = thread.error();
    if (thread.ok()) threads[cpu] = thread.take();
  }
  if (failure != Error::ok) race.called_off.store(true, std::memory_order_release);
  for (Thread* const thread : threads)
    if (thread != nullptr) join(*thread);
  if (failure != Error::ok) return failure;
  if (race.ran_out.load(std::memory_order_relaxed)) return Error::no_memory;
  return CpuBenchRow{.cpus = cpus, .pairs = pairs, .ns = race.slowest_ns.load(std::memory_order_relaxed)};
}

}  // namespace kernel::shell
