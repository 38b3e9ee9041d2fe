// Eight threads on four virtual CPUs of one machine: no frame has two owners, and every count comes out even.
// SPDX-License-Identifier: MIT
#include <cstring>
#include <thread>
#include <vector>

#include "mm/base/bits.hpp"
#include "mm/base/random.hpp"
#include "mm/host/cpu.hpp"
#include "mm/host/machine.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using stats::Counter;

namespace {

constexpr unsigned kThreads = 8;
constexpr unsigned kCpus = 4;
constexpr unsigned kOperations = 3000;
constexpr PhysRange kMemory[] = {unit::frames(1, 159), unit::frames(256, 5000)};

struct Held {
  FrameNumber number;
  unsigned order;
};

// Writes the owner into the block's two ends; TSan sees a second owner as a race, this sees it as another's
// mark.
void mark(FrameTable& frames, Held held, std::uint64_t owner) {
  std::byte* const bytes = frames.open(held.number).bytes();
  std::memcpy(bytes, &owner, sizeof owner);
  std::memcpy(bytes + (kPageSize << held.order) - sizeof owner, &owner, sizeof owner);
}

bool still_marked(FrameTable& frames, Held held, std::uint64_t owner) {
  const std::byte* const bytes = frames.open(held.number).bytes();
  return std::memcmp(bytes, &owner, sizeof owner) == 0 &&
         std::memcmp(bytes + (kPageSize << held.order) - sizeof owner, &owner, sizeof owner) == 0;
}

struct Outcome {
  std::vector<Held> held;
  std::uint64_t allocations = 0;
  std::uint64_t failures = 0;
  std::uint64_t misuses = 0;
  bool stolen = false;
  bool refused = false;
};

void work(memory::Machine& machine, unsigned thread, Outcome& outcome) {
  const host::Cpu cpu(machine.cpu(thread % kCpus));
  Random random{unit::seed() * kThreads + thread};
  for (unsigned n = 0; n < kOperations; ++n) {
    if (outcome.held.empty() || random.below(100) < 52) {
      const unsigned order = lowest_bit(random.next() | 1u << config::max_order);
      const auto got = machine.physical().allocate(Order{static_cast<std::uint8_t>(order)});
      if (!got.ok()) {
        ++outcome.failures;
        continue;
      }
      ++outcome.allocations;
      outcome.held.push_back({got.take(), order});
      mark(machine.frames(), outcome.held.back(), thread);
    } else {
      std::swap(outcome.held[random.below(outcome.held.size())], outcome.held.back());
      const Held last = outcome.held.back();
      outcome.held.pop_back();
      outcome.stolen = outcome.stolen || !still_marked(machine.frames(), last, thread);
      const Order wrong{static_cast<std::uint8_t>((last.order + 1) % (config::max_order + 1))};
      if (random.below(8) == 0) {
        outcome.misuses += machine.physical().release(last.number, wrong).error() == Error::wrong_order;
        outcome.misuses +=
            machine.physical().release(machine.frames().limit(), Order{0}).error() == Error::wild_free;
      }
      const Order order{static_cast<std::uint8_t>(last.order)};
      outcome.refused = outcome.refused || !machine.physical().release(last.number, order).ok();
    }
  }
}

}  // namespace

TEST(zone_threads, eight_threads_on_four_cpus_keep_every_frame_apart) {
  const auto created = host::Machine::create({.memory = kMemory, .cpus = kCpus});
  ASSERT(created.ok());
  const std::unique_ptr<host::Machine> owner(created.take());
  memory::Machine& machine = **owner;
  const PhysicalLevels before = machine.physical().levels();
  std::vector<Outcome> outcomes(kThreads);
  {
    std::vector<std::jthread> threads;
    for (unsigned n = 0; n < kThreads; ++n) threads.emplace_back([&, n] { work(machine, n, outcomes[n]); });
  }
  std::uint64_t allocations = 0, failures = 0, misuses = 0, live = 0, live_frames = 0;
  for (const Outcome& outcome : outcomes) {
    EXPECT(!outcome.stolen && !outcome.refused);
    allocations += outcome.allocations;
    failures += outcome.failures;
    misuses += outcome.misuses;
    live += outcome.held.size();
    for (const Held& held : outcome.held) live_frames += std::uint64_t{1} << held.order;
  }
  EXPECT(misuses > 0);
  EXPECT_EQ(machine.counter(Counter::frame_allocations), static_cast<std::int64_t>(allocations));
  EXPECT_EQ(machine.counter(Counter::frame_releases), static_cast<std::int64_t>(allocations - live));
  EXPECT_EQ(machine.counter(Counter::frame_failures), static_cast<std::int64_t>(failures));
  EXPECT_EQ(machine.counter(Counter::frame_misuses), static_cast<std::int64_t>(misuses));
  EXPECT_EQ(machine.physical().levels().free, before.free - live_frames);
  EXPECT(machine.manager().valid());
  const host::Cpu cpu(machine.cpu(0));
  machine.physical().quiesce();
  EXPECT_EQ(machine.physical().levels().cached, 0u);
  EXPECT_EQ(machine.counter(Counter::frames_free), static_cast<std::int64_t>(before.free - live_frames));
  EXPECT(machine.manager().valid());

  for (const Outcome& outcome : outcomes)
    for (const Held& held : outcome.held)
      EXPECT(machine.physical().release(held.number, Order{static_cast<std::uint8_t>(held.order)}).ok());
  EXPECT_EQ(machine.physical().levels().free, before.free);
  EXPECT(machine.physical().levels().cached > 0);
  EXPECT(machine.manager().valid());
}

// Readers take the same lock, so what they see adds up at every moment.
TEST(zone_threads, a_reader_sees_whole_states_only) {
  const auto created = host::Machine::create({.memory = kMemory, .cpus = 2});
  ASSERT(created.ok());
  const std::unique_ptr<host::Machine> owner(created.take());
  memory::Machine& machine = **owner;
  std::atomic<bool> done{false};
  std::jthread writer([&] {
    Outcome outcome;
    work(machine, 1, outcome);
    const host::Cpu cpu(machine.cpu(1));
    for (const Held& held : outcome.held)
      (void)machine.physical().release(held.number, Order{static_cast<std::uint8_t>(held.order)}).error();
    done = true;
  });
  do {
    std::uint64_t frames = 0;
    const auto blocks = machine.physical().free_blocks();
    for (unsigned order = 0; order < blocks.size(); ++order) frames += blocks[order] << order;
    EXPECT(frames <= machine.physical().levels().managed);
  } while (!done);
}
