// Commands about CPUs, threads and locks: cpus, threads, locks.
// SPDX-License-Identifier: MIT
#include <array>

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/layout.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/task/lock_watch.hpp"
#include "kernel/task/scheduler.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/format.hpp"
#include "mm/stats/stats.hpp"

namespace kernel::shell {

namespace {
using memory::Layout;
using memory::Unit;
using memory::stats::Counter;

std::int64_t as_number(std::uint64_t value) { return static_cast<std::int64_t>(value); }

std::int64_t as_number(const std::atomic<std::uint64_t>& value) {
  return as_number(value.load(std::memory_order_relaxed));
}

void describe(memory::Inspector& out, const Cpu& cpu) {
  out.begin_object("", Layout::row);
  out.number("cpu", cpu.number, Unit::none);
  out.number("apic", cpu.apic, Unit::none);
  out.text("state", name_of(cpu.state.load(std::memory_order_relaxed)));
  out.number("ticks", as_number(cpu.ticks), Unit::none);
  out.number("switches", as_number(cpu.switches), Unit::none);
  out.number("steals", as_number(cpu.steals), Unit::none);
  out.number("calls", as_number(cpu.calls), Unit::none);
  out.number("flushes",
             cpu.block->counters[static_cast<std::size_t>(Counter::flushes_answered)].load(
                 std::memory_order_relaxed),
             Unit::none);
  out.number("queued", as_number(scheduler::queue_length(cpu)), Unit::none);
  out.text("thread", scheduler::running_on(cpu).title());
  out.end_object();
}

void describe(memory::Inspector& out, const Thread& thread) {
  out.begin_object("", Layout::row);
  out.number("thread", thread.number, Unit::none);
  out.number("cpu", thread.cpu.load(std::memory_order_relaxed), Unit::none);
  out.text("pinned", thread.pinned == Thread::kAnyCpu ? "no" : "yes");
  out.text("state", name_of(thread.state.load(std::memory_order_relaxed)));
  out.number("switches", as_number(thread.switches), Unit::none);
  out.number("stack_used", as_number(high_water_bytes(thread.stack)), Unit::none);
  out.hex("waits_on", reinterpret_cast<std::uint64_t>(thread.waits_on.load(std::memory_order_relaxed)));
  out.text("name", thread.title());
  out.end_object();
}

void describe(memory::Inspector& out, std::string_view name, memory::CallSite site) {
  memory::TextBuffer<80> text;
  text.text(site.file == nullptr ? "?" : site.file).text(":").number(site.line);
  out.text(name, text.view());
}

void describe(memory::Inspector& out, const lock_watch::Waiter& waiter) {
  out.begin_object("", Layout::row);
  out.text("rank", name_of(waiter.rank));
  out.number("since_ms", as_number(waiter.since_ns / 1'000'000), Unit::none);
  describe(out, "waits_at", waiter.waits_at);
  describe(out, "taken_at", waiter.taken_at);
  out.text("who", waiter.who());
  out.end_object();
}

constinit std::array<lock_watch::Waiter, 64> waiters{};  // too large for a stack; one command runs at a time
}  // namespace

Status run_cpus(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", Layout::lines);
  out.text("controllers", kernel_record.controllers == Controllers::apic ? "APIC" : "8259");
  out.number("timer_hz", as_number(kernel_record.timer_hz), Unit::none);
  out.begin_array("cpus", Layout::table);
  for (unsigned n = 0; n < cpu_count(); ++n) describe(out, cpu_at(n));
  out.end_array();
  out.end_object();
  return Status::success;
}

// No thread can end meanwhile: whoever joins one does so in this thread.
Status run_threads(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", Layout::lines);
  out.begin_array("threads", Layout::table);
  for (const Thread* thread = thread_from(0); thread != nullptr; thread = thread_from(thread->number + 1))
    describe(out, *thread);
  out.end_array();
  out.end_object();
  return Status::success;
}

Status run_locks(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", Layout::lines);
  out.begin_array("locks", Layout::table);
  for (std::size_t n = memory::kLockRanks - 1; n > 0; --n) {
    const auto rank = static_cast<memory::Rank>(n);
    out.begin_object("", Layout::row);
    out.number("contended", as_number(lock_watch::contended(rank)), Unit::none);
    out.number("waiting", lock_watch::waiting(rank), Unit::none);
    out.text("rank", name_of(rank));
    out.end_object();
  }
  out.end_array();
  const std::size_t count = lock_watch::waiters(waiters);
  out.begin_array("waiters", Layout::table);
  for (std::size_t n = 0; n < count; ++n) describe(out, waiters[n]);
  out.end_array();
  out.end_object();
  return Status::success;
}

}  // namespace kernel::shell
