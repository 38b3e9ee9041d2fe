// Threads on the CPUs of one machine share caches: no object has two owners, whoever releases it.
// SPDX-License-Identifier: MIT
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "mm/base/random.hpp"
#include "mm/heap/heap.hpp"
#include "mm/host/cpu.hpp"
#include "mm/host/machine.hpp"
#include "tests/unit/world.hpp"

using namespace memory;

namespace {

constexpr unsigned kThreads = 6;
constexpr unsigned kCpus = 3;  // fewer than threads: slots are found taken
constexpr unsigned kOperations = 6000;
constexpr PhysRange kMemory[] = {unit::frames(0, 4096)};

struct Held {
  void* object;
  std::uint64_t owner;
};

// Objects that change hands: released by another thread than the one that allocated them.
struct Exchange {
  std::mutex mutex;
  std::vector<Held> held;
};

void work(memory::Machine& machine, KmemCache& cache, unsigned thread, Exchange& exchange, bool& stolen) {
  const host::Cpu cpu(machine.cpu(thread % kCpus));
  Random random{unit::seed() * kThreads + thread};
  std::vector<Held> mine;
  const auto release = [&](Held one) {
    stolen = stolen || std::memcmp(one.object, &one.owner, 8) != 0;
    if (!cache.release(one.object).ok()) stolen = true;
  };
  for (unsigned n = 0; n < kOperations; ++n) {
    if (mine.size() < 300 && random.below(100) < 55) {
      const auto got = cache.allocate();
      if (!got.ok()) continue;
      mine.push_back({got.take(), random.next()});
      std::memcpy(mine.back().object, &mine.back().owner, 8);
    } else if (!mine.empty()) {
      std::swap(mine[random.below(mine.size())], mine.back());
      Held one = mine.back();
      mine.pop_back();
      if (random.below(2) == 0) {
        const std::lock_guard lock(exchange.mutex);
        exchange.held.push_back(one);
        std::swap(exchange.held[random.below(exchange.held.size())], exchange.held.back());
        one = exchange.held.back();
        exchange.held.pop_back();
      }
      release(one);
    }
    if (n % 1500 == 1499) cache.shrink();
  }
  for (const Held one : mine) release(one);
}

}  // namespace

TEST(kmem_cache_threads, six_threads_on_three_cpus_keep_every_object_apart) {
  const auto created = host::Machine::create({.memory = kMemory, .cpus = kCpus});
  ASSERT(created.ok());
  const std::unique_ptr<host::Machine> owner(created.take());
  memory::Machine& machine = **owner;
  const std::uint64_t before = machine.physical().levels().free;
  KmemCache cache(machine.manager().heap(), {.name = "shared", .object_bytes = 96});
  Exchange exchange;
  bool stolen[kThreads] = {};
  {
    std::vector<std::jthread> threads;
    for (unsigned n = 0; n < kThreads; ++n)
      threads.emplace_back([&, n] { work(machine, cache, n, exchange, stolen[n]); });
  }
  for (const bool one : stolen) EXPECT(!one);
  const host::Cpu cpu(machine.cpu(0));
  for (const Held one : exchange.held) EXPECT(cache.release(one.object).ok());
  EXPECT(cache.valid());
  EXPECT_EQ(cache.levels().allocated, 0u);
  EXPECT(cache.retire().ok());
  machine.manager().heap().quiesce();
  machine.physical().quiesce();
  EXPECT_EQ(machine.physical().levels().free, before);
  EXPECT(machine.manager().valid());
}

// A thread on no CPU of the machine gets no magazine there, and everything works all the same.
TEST(kmem_cache_threads, a_stranger_is_served_without_magazines) {
  const auto created = host::Machine::create({.memory = kMemory});
  ASSERT(created.ok());
  const std::unique_ptr<host::Machine> owner(created.take());
  KmemCache cache((*owner)->manager().heap(), {.name = "strange", .object_bytes = 96});
  PerCpu nowhere;
  nowhere.number = 5;
  const host::Cpu cpu(nowhere);
  void* const object = cache.allocate().take();
  EXPECT(cache.release(object).ok());
  EXPECT_EQ(cache.levels().cached, 0u);
  EXPECT(cache.valid());
}
