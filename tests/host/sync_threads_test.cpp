// The four kinds of locks among real threads. Run under TSan, which sees a data race that a count would miss.
// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "mm/base/random.hpp"
#include "mm/base/sync.hpp"
#include "mm/host/panic.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;

namespace {

constexpr unsigned kThreads = 4;

// Runs body(k) in `count` threads. A lost wake-up hangs: the runner's deadline ends it.
template <typename Body>
void in_threads(unsigned count, Body body) {
  std::vector<std::thread> threads;
  for (unsigned k = 0; k < count; ++k) threads.emplace_back([&body, k] { body(k); });
  for (std::thread& thread : threads) thread.join();
}

// Two numbers that only ever change together, and are not atomic.
struct Pair {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::uint64_t increment() {
    ++first;
    return ++second;
  }
};

template <typename Lock>
void exclude(unsigned rounds) {
  Guarded<Pair, Lock> pair;
  std::atomic<bool> torn{false};
  in_threads(kThreads, [&](unsigned) {
    for (unsigned round = 0; round < rounds; ++round)
      pair.with([&](Pair& both) {
        if (both.first != both.second) torn = true;
        both.increment();
      });
  });
  EXPECT(!torn);
  EXPECT_EQ(pair.with([](Pair& both) { return both.first; }), std::uint64_t{kThreads} * rounds);
  EXPECT_EQ(pair.with([](Pair& both) { return both.second; }), std::uint64_t{kThreads} * rounds);
}

}  // namespace

TEST(sync_threads, spin_excludes) { exclude<Spin<Rank::zone>>(20000); }
TEST(sync_threads, irq_spin_excludes) { exclude<IrqSpin<Rank::zone>>(20000); }
TEST(sync_threads, mutex_excludes) { exclude<Mutex<Rank::object>>(20000); }
TEST(sync_threads, rwlock_excludes) { exclude<RwLock<Rank::object>>(20000); }

// Holders that sleep force the others to sleep too; whoever is not woken hangs.
TEST(sync_threads, mutex_loses_no_wake_up) {
  Guarded<Pair, Mutex<Rank::object>> pair;
  in_threads(kThreads, [&](unsigned) {
    for (int round = 0; round < 200; ++round)
      pair.with([](Pair& both) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        both.increment();
      });
  });
  EXPECT_EQ(pair.with([](Pair& both) { return both.second; }), 200u * kThreads);
}

TEST(sync_threads, rwlock_loses_no_wake_up) {
  Guarded<Pair, RwLock<Rank::object>> pair;
  std::atomic<bool> torn{false};
  std::atomic<unsigned> written{0};
  in_threads(2 * kThreads, [&](unsigned k) {
    Random random{unit::seed() + k};
    for (int round = 0; round < 200; ++round) {
      const bool slow = random.one_in(4);
      const auto pause = [&] {
        if (slow) std::this_thread::sleep_for(std::chrono::microseconds(50));
      };
      if (random.one_in(3)) {
        ++written;
        pair.with([&](Pair& both) {
          pause();
          both.increment();
        });
      } else {
        pair.read([&](const Pair& both) {
          const std::uint64_t before = both.first;
          pause();
          if (both.first != before || both.first != both.second) torn = true;
        });
      }
    }
  });
  EXPECT(!torn);
  EXPECT_EQ(pair.read([](const Pair& both) { return both.second; }), written.load());
}

// Each reader stays until all are in: with a lock that lets one in at a time they would hang.
TEST(sync_threads, readers_read_together) {
  Guarded<Pair, RwLock<Rank::object>> pair;
  std::atomic<unsigned> inside{0};
  in_threads(kThreads, [&](unsigned) {
    pair.read([&](const Pair&) {
      ++inside;
      while (inside < kThreads) std::this_thread::yield();
    });
  });
  EXPECT_EQ(inside.load(), kThreads);
}

// A reader leaves only when another stays, so without a lock that holds new readers back there is never a gap
// for the writer. With one, the last reader waits in vain for another and leaves after 20 ms.
TEST(sync_threads, readers_do_not_starve_a_writer) {
  using Clock = std::chrono::steady_clock;
  Guarded<Pair, RwLock<Rank::object>> pair;
  std::atomic<unsigned> inside{0};
  std::atomic<bool> written{false}, gave_up{false};
  const auto end = Clock::now() + std::chrono::seconds(2);
  in_threads(kThreads, [&](unsigned k) {
    if (k == 0) {
      while (inside == 0) std::this_thread::yield();
      pair.with([&](Pair& both) { both.increment(); });
      written = true;
      return;
    }
    while (!written && !gave_up)
      pair.read([&](const Pair&) {
        unsigned here = ++inside;
        const auto patience = Clock::now() + std::chrono::milliseconds(20);
        while (here < 2 || !inside.compare_exchange_strong(here, here - 1)) {
          std::this_thread::yield();
          here = inside;
          if (Clock::now() < patience) continue;
          --inside;
          break;
        }
        if (!written && Clock::now() > end) gave_up = true;
      });
  });
  EXPECT(!gave_up);
}

TEST(sync_threads, writers_do_not_starve_a_reader) {
  Guarded<Pair, RwLock<Rank::object>> pair;
  std::atomic<bool> read{false};
  in_threads(kThreads, [&](unsigned k) {
    if (k == 0) {
      for (int round = 0; round < 5; ++round) pair.read([](const Pair&) {});
      read = true;
      return;
    }
    while (!read) pair.with([](Pair& both) { both.increment(); });
  });
  EXPECT(read.load());
}

TEST(sync_threads, a_try_fails_while_another_holds) {
  Guarded<Pair, Spin<Rank::zone>> pair;
  std::atomic<int> step{0};
  std::atomic<bool> tried{true}, tried_later{false};
  in_threads(2, [&](unsigned k) {
    if (k == 0) {
      pair.with([&](Pair& both) {
        both.increment();
        step = 1;
        while (step != 2) std::this_thread::yield();
      });
      step = 3;
    } else {
      while (step != 1) std::this_thread::yield();
      tried = pair.try_with([](Pair& both) { both.increment(); });
      step = 2;
      while (step != 3) std::this_thread::yield();
      tried_later = pair.try_with([](Pair& both) { both.increment(); });
    }
  });
  EXPECT(!tried.load() && tried_later.load());
  EXPECT_EQ(pair.with([](Pair& both) { return both.second; }), 2u);
}

TEST(sync_threads, tries_exclude_too) {
  Guarded<Pair, IrqSpin<Rank::zone>> pair;
  std::atomic<std::uint64_t> successes{0};
  in_threads(kThreads, [&](unsigned) {
    for (int round = 0; round < 20000; ++round)
      if (pair.try_with([](Pair& both) { both.increment(); })) ++successes;
  });
  EXPECT_EQ(pair.with([](Pair& both) { return both.second; }), successes.load());
}

// Ranks belong to the thread: what one holds does not bind another.
TEST(sync_threads, each_thread_has_its_own_ranks) {
  Guarded<int, Spin<Rank::log>> low{0};
  Guarded<int, Spin<Rank::zone>> high{0};
  std::atomic<int> step{0};
  in_threads(2, [&](unsigned k) {
    if (k == 0) {
      low.with([&](int&) {
        step = 1;
        while (step != 2) std::this_thread::yield();
      });
    } else {
      while (step != 1) std::this_thread::yield();
      high.with([](int&) {});
      step = 2;
    }
  });
  EXPECT_EQ(step.load(), 2);
}

namespace {

// Panics under the lock, and says whether it is free again and no rank is left.
template <typename Lock>
bool lets_go_when_a_panic_unwinds() {
  Guarded<int, Lock> guarded{0};
  try {
    guarded.with([](int&) { platform::panic("on purpose"); });
  } catch (const host::Panic&) {
  }
  guarded.with([](int& value) { ++value; });  // hangs when it is still held
  return lock_order::Snapshot{}.empty();
}

}  // namespace

TEST(sync_threads, a_panic_lets_go_of_every_kind) {
  in_threads(1, [](unsigned) {
    EXPECT(lets_go_when_a_panic_unwinds<Spin<Rank::zone>>());
    EXPECT(lets_go_when_a_panic_unwinds<IrqSpin<Rank::zone>>());
    EXPECT(lets_go_when_a_panic_unwinds<Mutex<Rank::object>>());
    EXPECT(lets_go_when_a_panic_unwinds<RwLock<Rank::object>>());
    Guarded<int, RwLock<Rank::object>> guarded{0};
    try {
      guarded.read([](const int&) { platform::panic("on purpose"); });
    } catch (const host::Panic&) {
    }
    guarded.with([](int& value) { ++value; });
  });
}
