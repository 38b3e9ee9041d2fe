// Commands that measure: bench, latency, extfrag.
// SPDX-License-Identifier: MIT
#include <array>

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/shell/bench_cpus.hpp"
#include "kernel/shell/bench_threads.hpp"
#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "mm/benchmark.hpp"
#include "mm/frame_benchmark.hpp"
#include "mm/frame_latency.hpp"

namespace kernel::shell {

// Between two calls of it lies what is measured; `coronel profile` finds them by this name.
[[gnu::noipa]] std::uint64_t read_ticks() {
  std::uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return std::uint64_t{high} << 32 | low;
}

namespace {

using memory::Benchmark;
using memory::BenchmarkCase;
using memory::BenchmarkSet;
using memory::Layout;
using memory::Unit;

constexpr std::size_t kMostCases = 32;
constexpr std::uint64_t kMostRounds = 1'000'000'000;
constexpr std::string_view kFragmentation = "fragmentation";
constexpr std::string_view kCpus = "cpus";
constexpr std::string_view kThreads = "threads";
constexpr std::string_view kRounds = "rounds=";
constexpr std::string_view kClock = "clock=";
constexpr std::string_view kNanoseconds = "ns";

std::int64_t signed_of(std::uint64_t number) { return static_cast<std::int64_t>(number); }

// One tick of the time-stamp counter is one instruction under -icount shift=0, and nowhere else does it count a row of
// nops exactly, time after time.
template <unsigned nops>
[[gnu::noinline]] std::uint64_t ticks_of_nops() {
  std::uint32_t before, after;
  asm volatile("rdtsc\n\tmovl %%eax, %%ecx\n\t.rept %c2\n\tnop\n\t.endr\n\trdtsc"
               : "=&c"(before), "=&a"(after)
               : "i"(nops)
               : "edx", "memory");
  return after - before;
}

bool ticks_are_instructions() {
  for (unsigned n = 0; n < 8; ++n) {
    const std::uint64_t state = memory::platform::irq_save();
    const std::uint64_t more = ticks_of_nops<300>();
    const std::uint64_t less = ticks_of_nops<100>();
    memory::platform::irq_restore(state);
    if (more - less != 200) return false;
  }
  return true;
}

std::string_view unit_of_ticks() { return ticks_are_instructions() ? "instructions" : "TSC ticks"; }

void describe(memory::Inspector& out, const BenchmarkCase& which, memory::Measurement spent) {
  const std::uint64_t each =
      spent.operations == 0 ? 0 : (spent.ticks + spent.operations / 2) / spent.operations;
  out.begin_object("", Layout::row);
  out.text("case", which.name);
  out.number("operations", signed_of(spent.operations), Unit::none);
  out.number("ticks", signed_of(spent.ticks), Unit::none);
  out.number("each", signed_of(each), Unit::none);
  out.text("of", which.operation);
  out.end_object();
}

void describe(memory::Inspector& out, std::string_view name, memory::WholeBlocks blocks) {
  out.begin_object(name, Layout::lines);
  out.number("free_2mib", signed_of(blocks.free), Unit::none);
  out.number("possible", signed_of(blocks.possible), Unit::none);
  out.end_object();
}

Status run_fragmentation(Call& call) {
  const auto measured = [] {
    const Changing changing;
    return memory::measure_fragmentation(memory::manager(), 1);
  }();
  if (!measured.ok()) return call.fail(measured.error(), memory::text_of(measured.error()));
  const memory::Fragmentation found = measured.take();
  call.out().begin_object("", Layout::lines);
  describe(call.out(), "after_half", found.after_half);
  describe(call.out(), "after_churn", found.after_churn);
  call.out().end_object();
  return Status::success;
}

// The `rounds=N` that may follow the word, else `rounds`.
std::optional<std::uint64_t> rounds_after(Call& call, std::uint64_t rounds) {
  if (call.arguments() == 1) return rounds;
  const std::string_view word = call.argument(1);
  if (!word.starts_with(kRounds) || call.arguments() > 2) {
    call.error().text("expected rounds=N, not ").quoted(call.argument(call.arguments() - 1));
    return std::nullopt;
  }
  return call.number_in(word.substr(kRounds.size()), "rounds", 1, kMostRounds);
}

Status run_threads_bench(Call& call) {
  constexpr BenchmarkCase kCreateJoin{"create-join", "thread", "a thread that does nothing", nullptr};
  const auto rounds = rounds_after(call, 1000);
  if (!rounds) return Status::invalid;
  const auto spent = [&] {
    const Changing changing;
    return bench_threads(*rounds, read_ticks);
  }();
  if (!spent.ok()) return call.fail(spent.error(), memory::text_of(spent.error()));
  call.out().begin_object("", Layout::lines);
  call.out().text("unit", unit_of_ticks());
  call.out().begin_array("cases", Layout::table);
  describe(call.out(), kCreateJoin, spent.take());
  call.out().end_array();
  call.out().end_object();
  return Status::success;
}

// A row for 1, 2, 4 ... and for all CPUs. In nanoseconds: what CPUs cost each other is no instruction.
Status run_cpus_bench(Call& call) {
  const auto pairs = rounds_after(call, 1'000'000);
  if (!pairs) return Status::invalid;
  std::array<CpuBenchRow, 8> rows{};
  std::size_t count = 0;
  for (unsigned cpus = 1; count == 0 || rows[count - 1].cpus < cpu_count(); cpus *= 2) {
    const Changing changing;
    const auto row = bench_cpus(std::min(cpus, cpu_count()), *pairs);
    if (!row.ok()) return call.fail(row.error(), memory::text_of(row.error()));
    rows[count++] = row.take();
  }
  call.out().begin_array("", Layout::table);
  for (const CpuBenchRow& row : std::span(rows).first(count)) {
    call.out().begin_object("", Layout::row);
    call.out().number("cpus", row.cpus, Unit::none);
    call.out().number("pairs", signed_of(row.pairs), Unit::none);
    call.out().number("ns", signed_of(row.ns), Unit::none);
    call.out().number("ns_each", signed_of((row.ns + row.pairs / 2) / row.pairs), Unit::none);
    call.out().end_object();
  }
  call.out().end_array();
  return Status::success;
}

// Every case by set, with what it measures.
Status list_cases(Call& call) {
  call.out().begin_array("", Layout::table);
  for (const BenchmarkSet& set : memory::benchmark_sets())
    for (const BenchmarkCase& which : set.cases) {
      call.out().begin_object("", Layout::row);
      call.out().text("set", set.name);
      call.out().text("case", which.name);
      call.out().text("of", which.operation);
      call.out().text("what", which.what);
      call.out().end_object();
    }
  call.out().end_array();
  return Status::success;
}

struct BenchOptions {
  const BenchmarkSet* set = nullptr;
  const BenchmarkCase* only = nullptr;
  std::uint64_t rounds = 0;
  std::uint64_t (*clock)() = read_ticks;
};

template <typename Named>
const Named* find(std::span<const Named> all, std::string_view name) {
  for (const Named& one : all)
    if (one.name == name) return &one;
  return nullptr;
}

std::optional<BenchOptions> parse_bench(Call& call) {
  BenchOptions options{.set = find(memory::benchmark_sets(), call.argument(0))};
  if (options.set == nullptr) {
    call.error().text("no set of cases ").quoted(call.argument(0)).text("; 'bench' lists them");
    return std::nullopt;
  }
  for (std::size_t n = 1; n < call.arguments(); ++n) {
    const std::string_view word = call.argument(n);
    if (word.starts_with(kRounds)) {
      const auto rounds = call.number_in(word.substr(kRounds.size()), "rounds", 1, kMostRounds);
      if (!rounds) return std::nullopt;
      options.rounds = *rounds;
    } else if (word.starts_with(kClock)) {
      if (word.substr(kClock.size()) != kNanoseconds) {
        call.error().text("expected clock=ns, not ").quoted(word);
        return std::nullopt;
      }
      options.clock = memory::platform::now_ns;
    } else {
      options.only = find(options.set->cases, word);
      if (options.only == nullptr || n > 1) {
        call.error().text("no case ").quoted(word).text(" here; 'bench' lists them");
        return std::nullopt;
      }
    }
  }
  return options;
}

// Runs the cases one after the other. Not inlined, so that the command's frame stays small.
[[gnu::noinline]] Status measure(Call& call, std::span<const BenchmarkCase> cases,
                                 const BenchOptions& options, std::span<memory::Measurement> spent) {
  CHECK(cases.size() <= spent.size());
  for (std::size_t n = 0; n < cases.size(); ++n) {
    const Changing changing;
    Benchmark benchmark(memory::manager(), options.clock, options.rounds);
    const auto ran = cases[n].run(benchmark);
    if (!ran.ok()) return call.fail(ran.error(), memory::text_of(ran.error()));
    spent[n] = benchmark.spent();
  }
  return Status::success;
}

}  // namespace

Status run_bench(Call& call) {
  if (call.arguments() == 0) return list_cases(call);
  if (call.argument(0) == kFragmentation && call.arguments() == 1) return run_fragmentation(call);
  if (call.argument(0) == kCpus) return run_cpus_bench(call);
  if (call.argument(0) == kThreads) return run_threads_bench(call);
  const auto options = parse_bench(call);
  if (!options) return Status::invalid;
  const auto cases = options->only != nullptr ? std::span(options->only, 1) : options->set->cases;
  std::array<memory::Measurement, kMostCases> spent{};
  if (const Status status = measure(call, cases, *options, spent); status != Status::success) return status;
  call.out().begin_object("", Layout::lines);
  call.out().text("unit", options->clock == read_ticks ? unit_of_ticks() : kNanoseconds);
  call.out().begin_array("cases", Layout::table);
  for (std::size_t n = 0; n < cases.size(); ++n) describe(call.out(), cases[n], spent[n]);
  call.out().end_array();
  call.out().end_object();
  return Status::success;
}

// What a reader of the histogram must know stands above it: the unit, the seed, and how many calls were measured.
Status run_latency(Call& call) {
  constexpr std::string_view kSeed = "seed=";
  static constinit memory::FrameLatency latency;
  std::uint64_t operations = 100'000;
  std::uint64_t seed = 1;
  for (std::size_t n = 0; n < call.arguments(); ++n) {
    const std::string_view word = call.argument(n);
    const bool is_seed = word.starts_with(kSeed);
    if (!is_seed && n > 0) {
      call.error().text("expected seed=S, not ").quoted(word);
      return Status::invalid;
    }
    const auto number = is_seed ? call.number_in(word.substr(kSeed.size()), "seed", 0, ~std::uint64_t{0})
                                : call.number(n, "N", 1, 1'000'000'000);
    if (!number) return Status::invalid;
    (is_seed ? seed : operations) = *number;
  }
  {
    const Changing changing;
    const auto ran =
        latency.run(memory::manager(), read_ticks, operations, seed, [] { return !Call::interrupted(); });
    if (!ran.ok()) return call.fail(ran.error(), memory::text_of(ran.error()));
  }
  if (Call::interrupted()) {
    call.error().text("interrupted by ^C");
    return Status::interrupted;
  }
  call.out().begin_object("", Layout::lines);
  call.out().text("unit", unit_of_ticks());
  call.out().hex("seed", seed);
  call.out().number("operations", signed_of(operations), Unit::none);
  latency.describe(call.out());
  call.out().end_object();
  return Status::success;
}

Status run_extfrag(Call& call) {
  memory::manager().physical().describe_fragmentation(call.out());
  return Status::success;
}

}  // namespace kernel::shell
