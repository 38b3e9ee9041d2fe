// SPDX-License-Identifier: MIT
//
// Theory. A thread that wants to sleep puts itself into the bucket of the word it waits on, and into the sleepers of this
// CPU when it has a deadline; both under the bucket's lock, behind a look at the word. Whoever changes the word then calls
// wake(), which takes the same lock: so no wake is lost. Waker and clock may come at the same time: the one whose exchange
// takes the state from sleeping to ready has the thread, and puts it into a run queue; the other one only unlinks it.
//
//   running --wait--> sleeping --wake or time--> ready --a CPU takes it--> running
//      |                                          ^
//      +------------- its turn is over -----------+
//
// Invariants
//   T1  a thread in a run queue is ready and in that one only; a ready thread in none is in the hands of its waker, whose
//       interrupts are off, or it is an idle one, which is in none ever
//   T2  a thread whose on_cpu is set is put only into the queue of that CPU, which looks there after it has left: no
//       CPU ever waits for another to finish its switch
//   T3  preemption is on and no spin lock is held at a switch; a sleeping lock's ranks go with their thread
//   T4  `length` and ListHead::size of a run queue are equal while its lock is free
//   T5  an idle CPU says so (seq_cst) before it looks at the queues for the last time, and whoever puts a thread into a
//       queue looks for idle CPUs (seq_cst) afterwards: one of the two sees the other
//   T6  a sleeper says among whose it is; they are by time, and none is earlier than next_wake_ns. A waiter is in the
//       queue of its word's hash, and counted there
#include "kernel/task/scheduler.hpp"

#include <array>

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/ipi.hpp"
#include "kernel/task/lock_watch.hpp"
#include "kernel/task/queues.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/check.hpp"
#include "mm/base/sync.hpp"
#include "mm/stats/stats.hpp"

extern "C" {
void switch_threads(std::uint64_t* save, std::uint64_t load);
[[gnu::used]] void preemption_came_on();
}

namespace kernel {

void finish_switch();

namespace scheduler {

namespace {

using memory::Rank;

constinit std::array<RunQueue, memory::config::max_cpus> queues{};
constinit std::array<WaitQueue, kWaitQueues> buckets{};

WaitQueue& bucket_of(const std::atomic<std::uint32_t>* word) {
  return buckets[reinterpret_cast<std::uint64_t>(word) / 4 * 0x9e37'79b9'7f4a'7c15 >> 58];
}
static_assert(kWaitQueues == 1 << (64 - 58));

// ---- who runs

// On this CPU, interrupts off. The block may be one of a test's; the question is this CPU's.
void ask(const Cpu& here) { here.block->preempt &= ~memory::PerCpu::kNobodyAsks; }

unsigned cpu_for(const Thread& thread) {
  const unsigned last = thread.cpu.load(std::memory_order_relaxed);
  if (thread.pinned != Thread::kAnyCpu) return thread.pinned;
  if (thread.on_cpu.load(std::memory_order_acquire)) return last;  // T2
  if (queues[last].idle.load(std::memory_order_seq_cst)) return last;
  for (unsigned n = 0; n < cpu_count(); ++n) {
    if (queues[n].idle.load(std::memory_order_seq_cst)) return n;
  }
  return last;
}

// Precondition: this caller has the thread (T1).
void enqueue(Thread& thread) {
  const memory::InterruptsOff off;
  const unsigned target = cpu_for(thread);
  RunQueue& there = queues[target];
  there.ready.with([&](ThreadQueue& queue) {
    queue.push_back(thread);
    there.length.fetch_add(1, std::memory_order_seq_cst);
  });
  if (!there.idle.load(std::memory_order_seq_cst)) return;  // its tick will come
  const Cpu& here = this_cpu();
  if (target == here.number) return ask(here);
  ipi::reschedule(cpu_at(target));
}

// Takes a thread that may run here out of another CPU's queue.
Thread* steal(Cpu& here) {
  for (unsigned n = 0; n < cpu_count(); ++n) {
    if (n == here.number || queues[n].length.load(std::memory_order_seq_cst) == 0) continue;
    Thread* found = nullptr;
    queues[n].ready.with([&](ThreadQueue& queue) {
      for (Thread& thread : queue) {
        if (thread.pinned != Thread::kAnyCpu || thread.on_cpu.load(std::memory_order_acquire))
          continue;  // T2
        found = &thread;
        break;
      }
      if (found == nullptr) return;
      queue.remove(*found);
      queues[n].length.fetch_sub(1, std::memory_order_seq_cst);
    });
    if (found == nullptr) continue;
    here.steals.fetch_add(1, std::memory_order_relaxed);
    return found;
  }
  return nullptr;
}

Thread& choose(Cpu& here, Thread& from) {
  const bool stays = from.state.load(std::memory_order_relaxed) == ThreadState::running;
  const bool idle = &from == &here.idle;
  Thread* to = nullptr;
  RunQueue& own = queues[here.number];
  own.ready.with([&](ThreadQueue& queue) {
    to = queue.pop_front();
    if (to == nullptr) return;
    if (!stays || idle) {
      own.length.fetch_sub(1, std::memory_order_seq_cst);
    } else {  // one comes for the one that goes
      from.state.store(ThreadState::ready, std::memory_order_relaxed);
      queue.push_back(from);
    }
  });
  if (to == nullptr && (idle || !stays)) to = steal(here);
  if (to == nullptr) return stays ? from : here.idle;
  return *to;
}

// Interrupts are off, preemption is on (T3). Returns when this thread runs again, maybe on another CPU.
void switch_away() {
  Cpu& here = this_cpu();
  here.block->preempt |= memory::PerCpu::kNobodyAsks;
  CHECK(&memory::platform::percpu() == here.block && here.block->preempt_depth() == 0);
  Thread& from = current_thread();
  Thread& to = choose(here, from);
  to.state.store(ThreadState::running, std::memory_order_relaxed);
  if (&to == &from) return;
  if (&from == &here.idle) from.state.store(ThreadState::ready, std::memory_order_relaxed);
  queues[here.number].idle.store(&to == &here.idle, std::memory_order_seq_cst);
  to.cpu.store(here.number, std::memory_order_relaxed);
  to.on_cpu.store(true, std::memory_order_relaxed);
  to.switches.fetch_add(1, std::memory_order_relaxed);
  here.switches.fetch_add(1, std::memory_order_relaxed);
  here.previous = &from;
  here.block->thread = &to;
  switch_threads(&from.stack_pointer, to.stack_pointer);
  finish_switch();
}

// ---- sleeping

// Only a thread that could be switched away: not before there are threads, not on a CPU of a test's machine, not
// where interrupts or preemption are off.
bool may_sleep() {
  const memory::PerCpu& block = memory::platform::percpu();
  return cpu::interrupts_on() && block.home != nullptr && static_cast<Cpu*>(block.home)->block == &block &&
         block.preempt_depth() == 0 && boot_thread.stack != memory::KernelStack{};
}

void add_sleeper(Thread& thread, std::uint64_t deadline_ns) {
  thread.wake_ns = deadline_ns;
  thread.timer_cpu = this_cpu().number;
  RunQueue& own = queues[thread.timer_cpu];
  own.sleepers.with([&](Sleepers& sleepers) {
    auto at = sleepers.begin();
    while (at != sleepers.end() && at->wake_ns <= deadline_ns) ++at;
    if (at == sleepers.end()) {
      sleepers.push_back(thread);
    } else {
      sleepers.insert_before(*at, thread);
    }
    own.next_wake_ns.store(sleepers.front()->wake_ns, std::memory_order_relaxed);
  });
}

bool claim(Thread& thread) {
  ThreadState expected = ThreadState::sleeping;
  return thread.state.compare_exchange_strong(expected, ThreadState::ready, std::memory_order_acq_rel);
}

void leave_bucket(WaitQueue& bucket, Thread& thread) {
  bool was_in = false;
  bucket.waiters.with([&](ThreadQueue& waiters) {
    was_in = ThreadQueue::linked(thread);
    if (was_in) waiters.remove(thread);
  });
  if (was_in) bucket.count.fetch_sub(1, std::memory_order_relaxed);
}

// What the one that woke it has left behind: the waker does not know of the clock.
void leave_sleepers(Thread& thread) {
  queues[thread.timer_cpu].sleepers.with([&](Sleepers& sleepers) {
    if (Sleepers::linked(thread)) sleepers.remove(thread);
  });
}

// The threads whose time has come, claimed, out of the sleepers and out of their buckets.
void wake_sleepers(const Cpu& here) {
  RunQueue& own = queues[here.number];
  const std::uint64_t next = own.next_wake_ns.load(std::memory_order_relaxed);
  if (next == kNever) return;
  const std::uint64_t now = clock::now_ns();
  if (now < next) return;
  Sleepers due;
  own.sleepers.with([&](Sleepers& sleepers) {
    while (Thread* thread = sleepers.front()) {
      if (thread->wake_ns > now) break;
      sleepers.remove(*thread);
      if (claim(*thread)) due.push_back(*thread);
    }
    own.next_wake_ns.store(sleepers.empty() ? kNever : sleepers.front()->wake_ns, std::memory_order_relaxed);
  });
  while (Thread* thread = due.pop_front()) {
    leave_bucket(bucket_of(thread->waits_on.load(std::memory_order_relaxed)), *thread);
    enqueue(*thread);
  }
}

}  // namespace

void wait_until(const std::atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t deadline_ns) {
  if (!may_sleep()) return memory::platform::relax();
  Thread& me = current_thread();
  WaitQueue& bucket = bucket_of(&word);
  const memory::InterruptsOff off;
  // Before it can be in the queue, where all say what they wait for: whoever stops this CPU may look at any moment.
  me.waits_on.store(&word, std::memory_order_relaxed);
  bucket.count.fetch_add(1, std::memory_order_seq_cst);
  bool sleeps = false;
  bucket.waiters.with([&](ThreadQueue& waiters) {
    if (word.load(std::memory_order_seq_cst) != expected) return;
    sleeps = true;
    waiters.push_back(me);
    me.state.store(ThreadState::sleeping, std::memory_order_relaxed);
    if (deadline_ns != kNever) add_sleeper(me, deadline_ns);
  });
  if (sleeps) {
    switch_away();
  } else {
    bucket.count.fetch_sub(1, std::memory_order_relaxed);
  }
  me.waits_on.store(nullptr, std::memory_order_relaxed);
  if (!sleeps) return;
  if (deadline_ns != kNever) leave_sleepers(me);
}

void yield() {
  const memory::InterruptsOff off;
  switch_away();
}

void sleep_ns(std::uint64_t ns) {
  std::atomic<std::uint32_t> never_changes{0};
  const std::uint64_t deadline = clock::now_ns() + ns;
  while (clock::now_ns() < deadline) wait_until(never_changes, 0, deadline);
}

void start(Thread& thread) { enqueue(thread); }

void leave() {
  switch_away();
  CHECK(false);
  __builtin_unreachable();
}

void idle() {
  const auto somebody_waits = [] {
    for (unsigned n = 0; n < cpu_count(); ++n) {
      if (queues[n].length.load(std::memory_order_seq_cst) > 0) return true;
    }
    return false;
  };
  for (;;) {
    cpu::interrupts_disable();
    queues[this_cpu().number].idle.store(true, std::memory_order_seq_cst);
    if (somebody_waits()) switch_away();
    // Still, or again: an interrupt from here on wakes the CPU.
    cpu::interrupts_enable_and_halt();
  }
}

void on_tick() {
  Cpu& here = this_cpu();
  lock_watch::on_tick(here.ticks.fetch_add(1, std::memory_order_relaxed));
  if (here.number == 0) clock::on_tick();
  wake_sleepers(here);
  if (queues[here.number].length.load(std::memory_order_relaxed) > 0) ask(here);
}

void on_reschedule() { ask(this_cpu()); }

void preempt() {
  if (memory::platform::percpu().preempt == 0) switch_away();
}

std::span<const RunQueue> run_queues() { return queues; }
std::span<const WaitQueue> wait_queues() { return buckets; }

std::uint64_t queue_length(const Cpu& cpu) {
  return queues[cpu.number].length.load(std::memory_order_relaxed);
}

bool valid() {
  bool good = true;
  for (unsigned n = 0; n < cpu_count(); ++n) {
    RunQueue& own = queues[n];
    own.ready.with([&](ThreadQueue& queue) {
      good = good && queue.valid() && queue.size() == own.length.load();
      for (const Thread& thread : queue)
        good = good && thread.state.load() == ThreadState::ready &&
               (thread.pinned == Thread::kAnyCpu || thread.pinned == n);
    });
    own.sleepers.with([&](Sleepers& sleepers) {
      good = good && sleepers.valid();
      std::uint64_t earliest = own.next_wake_ns.load();
      for (const Thread& thread : sleepers) {
        good = good && thread.timer_cpu == n && thread.wake_ns >= earliest;
        earliest = thread.wake_ns;
      }
    });
  }
  for (WaitQueue& bucket : buckets) {
    bucket.waiters.with([&](ThreadQueue& waiters) {
      good = good && waiters.valid() && bucket.count.load() >= waiters.size();
      for (const Thread& thread : waiters) good = good && &bucket_of(thread.waits_on.load()) == &bucket;
    });
  }
  return good;
}

Thread& running_on(const Cpu& cpu) {
  return *static_cast<Thread*>(std::atomic_ref<void*>(cpu.block->thread).load(std::memory_order_relaxed));
}

}  // namespace scheduler

// On the new thread's stack.
void finish_switch() {
  Cpu& here = this_cpu();
  here.previous->on_cpu.store(false, std::memory_order_release);
}

}  // namespace kernel

void preemption_came_on() {
  using namespace kernel;
  if (!cpu::interrupts_on()) return;  // the next one, or the next tick
  const memory::InterruptsOff off;
  scheduler::preempt();
}

namespace memory::platform {

void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  kernel::scheduler::wait_until(word, expected, kernel::scheduler::kNever);
}

// The look at the count is a read-modify-write, so that it comes behind the caller's store to the word, whatever order that
// had: a waiter has counted itself before it looks at the word.
void wake(std::atomic<std::uint32_t>& word) {
  using namespace kernel;
  WaitQueue& bucket = scheduler::bucket_of(&word);
  if (bucket.count.fetch_add(0, std::memory_order_seq_cst) == 0) return;
  ThreadQueue woken;
  const InterruptsOff off;
  bucket.waiters.with([&](ThreadQueue& waiters) {
    for (auto at = waiters.begin(); at != waiters.end();) {
      Thread& thread = *at;
      if (thread.waits_on.load(std::memory_order_relaxed) != &word) {
        ++at;
        continue;
      }
      at = waiters.erase(at);
      bucket.count.fetch_sub(1, std::memory_order_relaxed);
      if (scheduler::claim(thread)) woken.push_back(thread);
    }
  });
  while (Thread* thread = woken.pop_front()) scheduler::enqueue(*thread);
}

}  // namespace memory::platform
