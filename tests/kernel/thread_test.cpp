// Threads, sleeping and messages between CPUs, with as many CPUs as there are. Nothing of it leaves memory behind.
// SPDX-License-Identifier: MIT
#include "kernel/task/thread.hpp"

#include <array>

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/fault_text.hpp"
#include "kernel/arch/x86_64/ipi.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/task/lock_watch.hpp"
#include "kernel/task/scheduler.hpp"
#include "mm/base/sync.hpp"
#include "mm/memory_manager.hpp"
#include "tests/unit/unit.hpp"

using kernel::Thread;

namespace {

// At the end of a test the queues are sound; magazines and the slabs of threads go home, so that `ktest` finds memory as it
// was.
struct Quiet {
  ~Quiet() {
    EXPECT(kernel::scheduler::valid());
    memory::manager().addresses().stacks().shrink();
    memory::manager().heap().shrink();
    memory::manager().physical().quiesce();
  }
};

constexpr unsigned kMany = 4;

// kMany threads that run body(context), all joined; pinned one by one to the CPUs when `spread`.
enum class Where : std::uint8_t { anywhere, spread };
bool run_many(void (*body)(void*), void* context, Where where = Where::anywhere) {
  std::array<Thread*, kMany> made{};
  bool good = true;
  for (unsigned n = 0; n < kMany; ++n) {
    const unsigned pinned = where == Where::spread ? n % kernel::cpu_count() : Thread::kAnyCpu;
    const auto thread = kernel::spawn("test", body, context, pinned);
    good = good && thread.ok();
    if (thread.ok()) made[n] = thread.take();
  }
  for (Thread* thread : made) {
    if (thread != nullptr) kernel::join(*thread);
  }
  return good;
}

}  // namespace

TEST(thread, runs_and_ends) {
  const Quiet quiet;
  std::atomic<unsigned> ran{0};
  const auto body = [](void* context) { static_cast<std::atomic<unsigned>*>(context)->fetch_add(1); };
  EXPECT(run_many(body, &ran));
  EXPECT_EQ(ran.load(), kMany);
  for (unsigned again = 0; again < 20; ++again) EXPECT(run_many(body, &ran));
  EXPECT_EQ(ran.load(), 21 * kMany);
}

TEST(thread, a_pinned_one_runs_on_its_cpu) {
  const Quiet quiet;
  for (unsigned cpu = 0; cpu < kernel::cpu_count(); ++cpu) {
    unsigned seen = ~0u;
    const auto body = [](void* context) {
      const memory::PreemptionOff stay;
      *static_cast<unsigned*>(context) = kernel::this_cpu().number;
    };
    EXPECT(kernel::run_on(cpu, body, &seen).ok());
    EXPECT_EQ(seen, cpu);
  }
}

TEST(thread, the_running_one_loses_its_turn) {
  const Quiet quiet;
  // Both on one CPU: the first waits, running, for what the second one does.
  struct Shared {
    std::atomic<bool> go{false};
  } shared;
  const auto waits = [](void* context) {
    while (!static_cast<Shared*>(context)->go.load()) memory::platform::relax();
  };
  const auto goes = [](void* context) { static_cast<Shared*>(context)->go.store(true); };
  const unsigned last = kernel::cpu_count() - 1;
  const auto first = kernel::spawn("waits", waits, &shared, last);
  ASSERT(first.ok());
  const auto second = kernel::spawn("goes", goes, &shared, last);
  EXPECT(second.ok());
  if (!second.ok()) shared.go.store(true);
  kernel::join(*first.take());
  if (second.ok()) kernel::join(*second.take());
}

TEST(thread, is_not_taken_off_while_preemption_is_off) {
  const Quiet quiet;
  struct Shared {
    std::atomic<bool> keeping{false};
    std::atomic<bool> other_ran{false};
    bool too_early = false;
  } shared;
  const auto keeps = [](void* context) {
    auto& own = *static_cast<Shared*>(context);
    const memory::PreemptionOff stay;
    own.keeping.store(true);
    const std::uint64_t end = kernel::clock::now_ns() + 50'000'000;
    while (kernel::clock::now_ns() < end) own.too_early = own.too_early || own.other_ran.load();
  };
  const auto other = [](void* context) { static_cast<Shared*>(context)->other_ran.store(true); };
  const unsigned last = kernel::cpu_count() - 1;
  const auto first = kernel::spawn("keeps", keeps, &shared, last);
  ASSERT(first.ok());
  while (!shared.keeping.load() && first.take()->done.load() == 0) kernel::scheduler::yield();
  const auto second = kernel::spawn("other", other, &shared, last);
  kernel::join(*first.take());
  if (second.ok()) kernel::join(*second.take());
  EXPECT(!shared.too_early && shared.other_ran.load());
}

TEST(thread, sleeps_as_long_as_it_said) {
  const Quiet quiet;
  const std::uint64_t start = kernel::clock::now_ns();
  kernel::scheduler::sleep_ns(30'000'000);
  EXPECT(kernel::clock::now_ns() - start >= 30'000'000);
}

// The last one to lie down is neither the first nor the last to get up.
TEST(thread, sleepers_of_one_cpu_wake_by_their_times) {
  const Quiet quiet;
  static constexpr std::array<std::uint64_t, 3> kTenths{6, 2, 4};  // of a round, after its beginning
  struct Round {
    std::uint64_t begin = 0;
    std::uint64_t tenth = 0;
    std::atomic<unsigned> next{0};
    std::atomic<bool> late{false};
    std::atomic<unsigned> woken{0};
    std::array<std::uint64_t, kTenths.size()> order{};
  };
  const auto sleeps = [](void* context) {
    auto& own = *static_cast<Round*>(context);
    const std::uint64_t mine = kTenths[own.next.fetch_add(1)];
    const std::uint64_t deadline = own.begin + mine * own.tenth;
    const std::atomic<std::uint32_t> never{0};
    if (kernel::clock::now_ns() > own.begin + own.tenth) own.late.store(true);
    while (kernel::clock::now_ns() < deadline) kernel::scheduler::wait_until(never, 0, deadline);
    own.order[own.woken.fetch_add(1)] = mine;
  };
  // A machine that is busy elsewhere may need longer than a tenth to lay all three down.
  for (std::uint64_t tenth = 10'000'000; tenth < 2'000'000'000; tenth *= 4) {
    Round round{.begin = kernel::clock::now_ns(), .tenth = tenth};
    std::array<Thread*, kTenths.size()> threads{};
    for (Thread*& thread : threads) {
      const auto made = kernel::spawn("sleeper", sleeps, &round, kernel::cpu_count() - 1);
      EXPECT(made.ok());
      if (made.ok()) thread = made.take();
    }
    for (Thread* thread : threads) {
      if (thread == nullptr) round.late.store(true);
      if (thread != nullptr) kernel::join(*thread);
    }
    if (round.late.load()) continue;
    EXPECT(round.order[0] == 2 && round.order[1] == 4 && round.order[2] == 6);
    return;
  }
  EXPECT(false);  // never fast enough
}

TEST(thread, a_wait_ends_at_its_deadline_or_by_a_wake) {
  const Quiet quiet;
  std::atomic<std::uint32_t> word{7};
  kernel::scheduler::wait_until(word, 8, kernel::scheduler::kNever);  // it is not 8: at once
  const std::uint64_t deadline = kernel::clock::now_ns() + 20'000'000;
  while (kernel::clock::now_ns() < deadline) kernel::scheduler::wait_until(word, 7, deadline);

  const auto changes = [](void* context) {
    auto& it = *static_cast<std::atomic<std::uint32_t>*>(context);
    kernel::scheduler::sleep_ns(10'000'000);
    it.store(8);
    memory::platform::wake(it);
  };
  const auto thread = kernel::spawn("changes", changes, &word);
  ASSERT(thread.ok());
  while (word.load() == 7) kernel::scheduler::wait_until(word, 7, kernel::scheduler::kNever);
  kernel::join(*thread.take());
  EXPECT_EQ(word.load(), 8u);
}

// Every value has one producer and is taken once: a wake that is lost leaves somebody asleep for ever.
TEST(thread, no_wake_is_lost) {
  const Quiet quiet;
  struct PingPong {
    std::atomic<std::uint32_t> turn{0};
    std::atomic<std::uint32_t> next_player{0};
  } table;
  constexpr std::uint32_t kTurns = 2000;
  const auto play = [](void* context) {
    auto& own = *static_cast<PingPong*>(context);
    const std::uint32_t me = own.next_player.fetch_add(1);
    while (true) {
      const std::uint32_t turn = own.turn.load(std::memory_order_acquire);
      if (turn >= kTurns) return;
      if (turn % kMany != me) {
        memory::platform::wait(own.turn, turn);
        continue;
      }
      own.turn.store(turn + 1, std::memory_order_release);
      memory::platform::wake(own.turn);
    }
  };
  EXPECT(run_many(play, &table));
  EXPECT(run_many(play, &table, Where::spread));  // the end of the game lets them go at once
  EXPECT(table.turn.load() >= kTurns);
}

TEST(thread, a_mutex_lets_one_in_and_sleepers_sleep) {
  const Quiet quiet;
  struct Shared {
    memory::Mutex<memory::Rank::process> lock;
    std::uint64_t count = 0;  // not atomic on purpose
  } shared;
  const auto body = [](void* context) {
    auto& own = *static_cast<Shared*>(context);
    for (unsigned turn = 0; turn < 500; ++turn) {
      if (turn % 100 == 99) EXPECT(kernel::scheduler::valid());  // while others come and go
      const memory::Mutex<memory::Rank::process>::Hold hold(own.lock);
      const std::uint64_t seen = own.count;
      if (turn % 50 == 0) kernel::scheduler::yield();
      own.count = seen + 1;
    }
  };
  EXPECT(run_many(body, &shared, Where::spread));
  EXPECT_EQ(shared.count, std::uint64_t{500} * kMany);
}

TEST(thread, sleeping_ranks_go_with_the_thread) {
  const Quiet quiet;
  memory::Mutex<memory::Rank::heap> lock;
  const memory::Mutex<memory::Rank::heap>::Hold hold(lock);
  bool empty = false;
  const auto body = [](void* context) {
    *static_cast<bool*>(context) = memory::platform::held_sleep().depth == 0;
  };
  EXPECT(kernel::run_on(0, body, &empty).ok());  // on this very CPU, while this thread holds one
  EXPECT(empty);
  EXPECT(memory::platform::held_sleep().depth == (memory::config::debug ? 1 : 0));
}

TEST(thread, its_stack_has_a_guard_and_a_name) {
  const Quiet quiet;
  struct Seen {
    kernel::KernelStack on{};
    bool its_own = false;
    bool named = false;
    memory::TextBuffer<100> below;
  } seen;
  const auto body = [](void* context) {
    auto& own = *static_cast<Seen*>(context);
    const auto here = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
    own.on = kernel::stack_holding(here).take();
    own.its_own = own.on.holds({here}) && own.on == kernel::current_thread().stack;
    memory::TextBuffer<48> wanted;
    wanted.text("thread ").number(kernel::current_thread().number).text(" errand");
    kernel::for_each_stack([&](std::string_view name, const kernel::KernelStack& stack) {
      own.named |= stack == own.on && name == wanted.view();
    });
    memory::TextBuffer<100> overflow;
    overflow.text("stack overflow of ").text(wanted.view()).text(": it ran into its guard page");
    EXPECT(kernel::write_stack_overflow(own.below, own.on.bottom.value - 1));
    EXPECT(own.below.view() == overflow.view());
    EXPECT(!kernel::write_stack_overflow(own.below, own.on.bottom.value));
    EXPECT(!kernel::write_stack_overflow(own.below, own.on.top.value));  // the guard page above it
  };
  EXPECT(kernel::run_on(0, body, &seen).ok());
  EXPECT(seen.its_own && seen.named);
  EXPECT(!kernel::stack_holding(seen.on.bottom.value).ok());  // it has ended
}

// Who waits, for what, where, and where the holder took it.
TEST(thread, who_waits_for_a_lock_is_known) {
  const Quiet quiet;
  if constexpr (!memory::config::debug) return;
  struct Shared {
    memory::Mutex<memory::Rank::heap> lock;
    int line = 0;
  } shared;
  const auto waits = [](void* context) {
    auto& own = *static_cast<Shared*>(context);
    own.line = __LINE__ + 1;
    const memory::Mutex<memory::Rank::heap>::Hold hold(own.lock);
  };
  std::array<kernel::lock_watch::Waiter, 4> room{};
  EXPECT_EQ(kernel::lock_watch::waiters(room), 0u);
  Thread* thread = nullptr;
  const int taken = __LINE__ + 2;
  {
    const memory::Mutex<memory::Rank::heap>::Hold hold(shared.lock);
    const auto spawned = kernel::spawn("patient", waits, &shared);
    EXPECT(spawned.ok());
    if (spawned.ok()) thread = spawned.take();
    while (thread != nullptr && kernel::lock_watch::waiters(room) == 0) kernel::scheduler::yield();
  }
  if (thread == nullptr) return;
  kernel::join(*thread);
  const std::string_view file = __FILE__;
  EXPECT(room[0].rank == memory::Rank::heap && room[0].who() == "patient");
  EXPECT_EQ(room[0].waits_at.line, shared.line);
  EXPECT_EQ(room[0].taken_at.line, taken);
  EXPECT(room[0].waits_at.file == file && room[0].taken_at.file == file);
  EXPECT_EQ(kernel::lock_watch::waiters(room), 0u);
}

// Nothing is held that nobody uses.
std::uint64_t free_frames_without_kept() {
  memory::MemoryManager& manager = memory::manager();
  manager.addresses().stacks().shrink();
  manager.heap().shrink();
  manager.physical().quiesce();
  return manager.physical().levels().free;
}

// Runs call() with the n-th allocation failing, for each n until none is left to fail; undo() takes back what came all the
// same. Whenever it fails nothing has changed. How often it did.
template <typename Call, typename Undo>
unsigned count_refusals(Call&& call, Undo&& undo) {
  memory::MemoryManager& manager = memory::manager();
  const std::uint64_t free = free_frames_without_kept();
  const std::uint64_t ranges = manager.addresses().ranges().allocated();
  unsigned refused = 0;
  bool struck = true;
  for (std::uint64_t nth = 1; struck && nth < 200; ++nth) {
    manager.fail_nth(nth);
    auto made = call();
    struck = manager.physical().fail_plan().struck();
    manager.fail_nth(0);
    if (made.ok()) {
      undo(made.take());
    } else {
      EXPECT_EQ(made.error(), memory::Error::no_memory);
      ++refused;
    }
    EXPECT_EQ(free_frames_without_kept(), free);
    EXPECT_EQ(manager.addresses().ranges().allocated(), ranges);
  }
  EXPECT(!struck);
  return refused;
}

// A failure at any place gives back what was made before it: the stack's frames, their range's record, the thread.
TEST(thread, none_is_left_where_memory_was_missing) {
  const Quiet quiet;
  static constinit std::atomic<unsigned> ran{0};
  const auto body = [](void*) { ran.fetch_add(1); };
  EXPECT(kernel::run_on(0, body, nullptr).ok());  // the first table of the window stays
  const auto threads = [] {
    std::size_t count = 0;
    kernel::all_threads().with([&](const kernel::Threads& all) { count = all.size(); });
    return count;
  };
  const std::size_t before = threads();
  ran = 0;
  unsigned joined = 0;
  const unsigned refused = count_refusals(
      [&] {
        const auto made = kernel::spawn("unlucky", body, nullptr, 0);
        EXPECT_EQ(threads(), before + made.ok());
        return made;
      },
      [&](Thread* thread) {
        kernel::join(*thread);
        ++joined;
      });
  EXPECT(refused >= 5);  // the stack, its record and its slab, the thread and its slab
  EXPECT_EQ(ran.load(), joined);
  EXPECT_EQ(threads(), before);
}

TEST(stacks, of_a_cpu_come_all_or_none) {
  const Quiet quiet;
  EXPECT(kernel::run_on(0, [](void*) {}, nullptr).ok());
  const unsigned refused =
      count_refusals([] { return kernel::make_cpu_stacks(memory::config::max_cpus - 1); },
                     [](kernel::CpuStacks stacks) {
                       for (std::size_t use = 1; use < kernel::kStackUses; ++use)
                         EXPECT_EQ(kernel::high_water_bytes(stacks.stacks[use]), 0u);
                       kernel::release_cpu_stacks(stacks);
                     });
  EXPECT(refused >= kernel::kStackUses - 1);  // the record of each
}

TEST(ipi, a_call_runs_once_on_each_cpu_that_is_asked) {
  std::array<std::atomic<unsigned>, memory::config::max_cpus> ran{};
  const auto body = [](void* context) {
    auto& all = *static_cast<decltype(ran)*>(context);
    all[kernel::this_cpu().number].fetch_add(1);
  };
  for (unsigned round = 0; round < 50; ++round) kernel::ipi::call(~std::uint64_t{0}, body, &ran);
  for (unsigned cpu = 0; cpu < ran.size(); ++cpu)
    EXPECT_EQ(ran[cpu].load(), cpu > 0 && cpu < kernel::cpu_count() ? 50u : 0u);
  kernel::ipi::call(2, body, &ran);
  EXPECT_EQ(ran[1].load(), kernel::cpu_count() > 1 ? 51u : 0u);
}

// All CPUs shoot at all others at once, some of them with interrupts off at times: nobody waits for ever.
TEST(ipi, flushes_cross) {
  const Quiet quiet;
  const auto body = [](void*) {
    for (unsigned round = 0; round < 200; ++round) {
      std::array<memory::VirtAddr, 8> pages{};
      pages.fill(memory::VirtAddr{~std::uint64_t{0xfff}});
      memory::platform::flush_others(memory::SpaceId::kernel, std::span(pages).first(round % 9),
                                     ~std::uint64_t{0});
      if (round % 10 == 0) {
        const memory::InterruptsOff off;
        for (unsigned turn = 0; turn < 1000; ++turn) memory::platform::relax();
      }
    }
  };
  EXPECT(run_many(body, nullptr, Where::spread));
}
