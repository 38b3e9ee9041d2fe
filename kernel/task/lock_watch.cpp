// SPDX-License-Identifier: MIT
//
// Whoever waits for a lock says so in its HeldRanks: a CPU for spin locks, a thread for sleeping ones. This reads them while
// they change: a rank that is there before and after the other fields were copied, with the same beginning, has been
// there all the time. The lock is read through a pointer that may have gone by then; the limit makes that unlikely, and
// locks of the kernel lie in memory that stays mapped.
#include "kernel/task/lock_watch.hpp"

#include <atomic>

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/console.hpp"
#include "kernel/task/thread.hpp"

namespace kernel::lock_watch {

namespace {

using memory::HeldRanks;
using memory::Rank;

constexpr std::uint64_t kEveryTicks = 8;

constinit std::atomic<std::uint64_t> limit_ns{10'000'000'000};
constinit std::atomic<bool> looking{false};  // one CPU at a time

Rank wanted(const HeldRanks& held) {
  return Rank{
      std::atomic_ref<std::uint8_t>(const_cast<std::uint8_t&>(held.wanted)).load(std::memory_order_acquire)};
}

// False when it waits for none, or for another one by now.
bool read(const HeldRanks& held, std::string_view who, Waiter& to) {
  to.rank = wanted(held);
  if (to.rank == Rank::none || held.holder == nullptr) return false;
  to.since_ns = held.since_ns;
  to.waits_at = {held.file, static_cast<int>(held.line)};
  to.taken_at = held.holder->get();
  if (wanted(held) != to.rank || held.since_ns != to.since_ns) return false;
  to.name = {};
  memory::Writer(to.name.data(), to.name.size() - 1).text(who);
  return true;
}

void report(const Waiter& waiter, std::uint64_t waited_ns) {
  Line line;
  line.text("a ").text(name_of(waiter.rank)).text(" lock is held too long: ").text(waiter.who());
  line.text(" waits for it at ").text(waiter.waits_at.file).text(":").number(waiter.waits_at.line);
  line.text(" for ").number(waited_ns / 1'000'000).text(" ms, taken at ");
  line.text(waiter.taken_at.file == nullptr ? "?" : waiter.taken_at.file);
  line.text(":").number(waiter.taken_at.line);
}

void look_at(HeldRanks& held, std::uint64_t now, std::string_view who) {
  Waiter waiter;
  if (held.told || !read(held, who, waiter) || now < waiter.since_ns) return;
  if (now - waiter.since_ns < limit_ns.load(std::memory_order_relaxed)) return;
  held.told = true;
  report(waiter, now - waiter.since_ns);
}

template <typename Body>
void for_each_cpu(Body&& body) {
  for (unsigned n = 0; n < cpu_count(); ++n) {
    memory::TextBuffer<16> name;
    name.text("CPU ").number(n);
    body(cpu_at(n).block->held_spin, name.view());
  }
}

}  // namespace

void set_limit(std::uint64_t ns) {
  limit_ns.store(ns == 0 ? ~std::uint64_t{0} : ns, std::memory_order_relaxed);
}

void on_tick(std::uint64_t ticks) {
  if constexpr (!memory::config::debug) return;
  if (ticks % kEveryTicks != 0 || looking.exchange(true, std::memory_order_acquire)) return;
  const std::uint64_t now = clock::now_ns();
  for_each_cpu([&](HeldRanks& held, std::string_view who) { look_at(held, now, who); });
  // Where a thread comes or goes just now, the next time will do.
  (void)all_threads().try_with([&](Threads& threads) {
    for (Thread& thread : threads) look_at(thread.held, now, thread.title());
  });
  looking.store(false, std::memory_order_release);
}

std::uint64_t contended(Rank rank) {
  std::uint64_t sum = 0;
  for (const memory::PerCpu* block : running_cpus())
    sum += block->contended[static_cast<std::size_t>(rank)].load(std::memory_order_relaxed);
  return sum;
}

unsigned waiting(Rank rank) {
  unsigned count = 0;
  for_each_cpu([&](const HeldRanks& held, std::string_view) { count += wanted(held) == rank; });
  all_threads().with([&](const Threads& threads) {
    for (const Thread& thread : threads) count += wanted(thread.held) == rank;
  });
  return count;
}

std::size_t waiters(std::span<Waiter> room) {
  std::size_t count = 0;
  const auto take = [&](const HeldRanks& held, std::string_view who) {
    if (count < room.size() && read(held, who, room[count])) ++count;
  };
  for_each_cpu(take);
  all_threads().with([&](const Threads& threads) {
    for (const Thread& thread : threads) take(thread.held, thread.title());
  });
  return count;
}

}  // namespace kernel::lock_watch
