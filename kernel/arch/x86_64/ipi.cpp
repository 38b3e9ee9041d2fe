// SPDX-License-Identifier: MIT
//
// Each CPU has one request of each kind: it waits for its end, with preemption off, before it makes another. What a CPU
// is asked for is one bit for each asker; the request's `pending` has one bit for each CPU that has not answered.
//
//   asker   writes the request, pending = cpus (release)
//           asked |= me at each (release), then the message
//   asked   set = asked.exchange(0) (acquire); does it; pending &= ~me (release)
//   asker   waits for pending == 0 (acquire), answering what others ask of it meanwhile
//
// An asker that has waited for long halts, because an emulated CPU that spins takes the time that the asked needs. Before it
// does it says so (seq_cst) and looks once more; the last one to answer looks there (seq_cst) and wakes it.
//
// So the asked sees the request whole, and whatever it did happens before the asker goes on. Two CPUs that ask each other
// with interrupts off cannot block each other: relax() answers flushes. A call is answered with interrupts on alone,
// because it may take locks.
#include "kernel/arch/x86_64/ipi.hpp"

#include <array>
#include <span>

#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "mm/base/check.hpp"
#include "mm/base/format.hpp"
#include "mm/base/sync.hpp"
#include "mm/stats/stats.hpp"

namespace kernel::ipi {

namespace {

using memory::VirtAddr;

struct alignas(64) Request {
  std::atomic<std::uint64_t> pending{0};
  std::atomic<bool> halted{false};
  // a flush
  memory::SpaceId space{};
  std::span<const VirtAddr> pages{};
  // a call
  void (*body)(void*) = nullptr;
  void* context = nullptr;
};

constinit std::array<Request, memory::config::max_cpus> flushes{};
constinit std::array<Request, memory::config::max_cpus> calls{};

constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

// Those of `cpus` that run, without this one. Preemption is off.
std::uint64_t others_of(std::uint64_t cpus) {
  return cpus & ((std::uint64_t{2} << (cpu_count() - 1)) - 1) & ~bit(this_cpu().number);
}

void ask(std::atomic<std::uint64_t> Cpu::* where, std::uint64_t cpus, std::uint64_t vector) {
  const std::uint64_t me = bit(this_cpu().number);
  for (std::uint64_t rest = cpus; rest != 0; rest &= rest - 1)
    (cpu_at(static_cast<unsigned>(__builtin_ctzll(rest))).*where).fetch_or(me);
  for (std::uint64_t rest = cpus; rest != 0; rest &= rest - 1) {
    const memory::InterruptsOff off;
    apic::send(cpu_at(static_cast<unsigned>(__builtin_ctzll(rest))).apic, vector);
  }
}

[[noreturn, gnu::cold]] void give_up(const Request& request, std::string_view what) {
  memory::TextBuffer<100> why;
  why.text("CPUs ")
      .hex(request.pending.load())
      .text(" (a set) did not answer ")
      .text(what)
      .text(" for 30 seconds");
  memory::platform::panic(why.view());
}

// Until the last answer, or any other interrupt. Interrupts are on; each but the answer's comes with another turn.
void halt_for(Request& request) {
  cpu::interrupts_disable();
  request.halted.store(true, std::memory_order_seq_cst);
  if (request.pending.load(std::memory_order_seq_cst) != 0) {
    cpu::interrupts_enable_and_halt();
  } else {
    cpu::interrupts_enable();
  }
  request.halted.store(false, std::memory_order_relaxed);
}

void wait_for(Request& request, std::string_view what) {
  constexpr std::uint64_t kPatienceNs = 30'000'000'000;
  constexpr std::uint32_t kSpins = 400;
  const std::uint64_t start = clock::now_ns();
  for (std::uint32_t turns = 1; request.pending.load(std::memory_order_acquire) != 0; ++turns) {
    memory::platform::relax();
    if (turns > kSpins && cpu::interrupts_on()) halt_for(request);
    if (turns % 4096 == 0 && clock::now_ns() - start > kPatienceNs) give_up(request, what);
  }
}

// This CPU has done what that one asked. Interrupts are off.
void answer(Request& request, unsigned asker) {
  const std::uint64_t me = bit(this_cpu().number);
  if (request.pending.fetch_and(~me, std::memory_order_seq_cst) == me &&
      request.halted.load(std::memory_order_seq_cst))
    apic::send(cpu_at(asker).apic, apic::kFlush);
}

void forget(const Request& request) {
  if (request.pages.empty()) memory::platform::flush_space(request.space);
  for (const VirtAddr page : request.pages) memory::platform::flush_page(request.space, page);
}

}  // namespace

std::uint64_t begin(std::uint64_t cpus, void (*body)(void*), void* context) {
  DCHECK(cpu::interrupts_on());
  const std::uint64_t others = others_of(cpus);
  Request& request = calls[this_cpu().number];
  CHECK(request.pending.load() == 0);
  if (others == 0) return others;
  request.body = body;
  request.context = context;
  request.pending.store(others, std::memory_order_release);
  ask(&Cpu::calls_asked, others, apic::kCall);
  return others;
}

void end() { wait_for(calls[this_cpu().number], "a call"); }

void call(std::uint64_t cpus, void (*body)(void*), void* context) {
  const memory::PreemptionOff stay;
  begin(cpus, body, context);
  end();
}

void on_call() {
  Cpu& here = this_cpu();
  for (std::uint64_t asked = here.calls_asked.exchange(0); asked != 0; asked &= asked - 1) {
    const auto asker = static_cast<unsigned>(__builtin_ctzll(asked));
    Request& request = calls[asker];
    request.body(request.context);
    here.calls.fetch_add(1, std::memory_order_relaxed);
    answer(request, asker);
  }
}

void reschedule(Cpu& cpu) {
  const memory::InterruptsOff off;
  apic::send(cpu.apic, apic::kReschedule);
}

void on_flush() { memory::platform::answer_flushes(); }

}  // namespace kernel::ipi

namespace memory::platform {

// Interrupts may be on: the exchange gives each request to one of two that answer here at the same time.
void answer_flushes() {
  using namespace kernel;
  auto* const here = static_cast<Cpu*>(percpu().home);
  if (here == nullptr || here->flushes_asked.load(std::memory_order_relaxed) == 0) return;
  const InterruptsOff off;
  for (std::uint64_t asked = here->flushes_asked.exchange(0); asked != 0; asked &= asked - 1) {
    const auto asker = static_cast<unsigned>(__builtin_ctzll(asked));
    ipi::Request& request = ipi::flushes[asker];
    ipi::forget(request);
    // On the own block, where a test stands on another: this is no work of the test's machine.
    here->block->counters[static_cast<std::size_t>(stats::Counter::flushes_answered)].fetch_add(
        1, std::memory_order_relaxed);
    ipi::answer(request, asker);
  }
}

void flush_others(SpaceId space, std::span<const VirtAddr> pages, std::uint64_t cpu_mask) {
  using namespace kernel;
  const PreemptionOff stay;
  const std::uint64_t others = ipi::others_of(cpu_mask);
  if (others == 0) return;
  ipi::Request& request = ipi::flushes[this_cpu().number];
  CHECK(request.pending.load() == 0);
  request.space = space;
  request.pages = pages;
  request.pending.store(others, std::memory_order_release);
  ipi::ask(&Cpu::flushes_asked, others, apic::kFlush);
  stats::add(stats::Counter::shootdowns);
  ipi::wait_for(request, "a flush of translations");
}

}  // namespace memory::platform
