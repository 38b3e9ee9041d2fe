// Commands that measure: bench, extfrag.
// SPDX-License-Identifier: MIT
#include <array>

#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "mm/frame_benchmark.hpp"

namespace kernel::shell {

namespace {

using memory::FrameBenchmark;
using memory::Layout;
using memory::Unit;

constexpr std::size_t kMostCases = 24;

// One tick is one instruction under -icount shift=0.
std::uint64_t timestamp() {
  std::uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return std::uint64_t{high} << 32 | low;
}

std::int64_t signed_of(std::uint64_t number) { return static_cast<std::int64_t>(number); }

void describe(memory::Inspector& out, const FrameBenchmark::Case& which, memory::Measurement spent) {
  out.begin_object("", Layout::row);
  out.text("case", which.name);
  out.number("operations", signed_of(spent.operations), Unit::none);
  out.number("ticks", signed_of(spent.ticks), Unit::none);
  out.number("each", signed_of((spent.ticks + spent.operations / 2) / spent.operations), Unit::none);
  out.end_object();
}

void describe(memory::Inspector& out, std::string_view name, memory::WholeBlocks blocks) {
  out.begin_object(name, Layout::lines);
  out.number("free_2mib", signed_of(blocks.free), Unit::none);
  out.number("possible", signed_of(blocks.possible), Unit::none);
  out.end_object();
}

}  // namespace

Status run_bench(Call& call) {
  FrameBenchmark benchmark(memory::manager(), timestamp);
  const Changing changing;
  if (call.argument(0) == "fragmentation") {
    const auto found = benchmark.fragmentation(1);
    if (!found.ok()) return call.fail(found.error(), memory::text_of(found.error()));
    call.out().begin_object("", Layout::lines);
    describe(call.out(), "after_half", found.take().after_half);
    describe(call.out(), "after_churn", found.take().after_churn);
    call.out().end_object();
    return Status::success;
  }
  if (call.argument(0) != "pages") {
    call.error().text("expected pages or fragmentation, not ");
    call.error().quoted(call.argument(0));
    return Status::invalid;
  }
  const auto cases = FrameBenchmark::cases();
  std::array<memory::Measurement, kMostCases> spent{};
  CHECK(cases.size() <= spent.size());
  for (std::size_t n = 0; n < cases.size(); ++n) {
    const auto result = benchmark.run(cases[n]);
    if (!result.ok()) return call.fail(result.error(), memory::text_of(result.error()));
    spent[n] = result.take();
  }
  call.out().begin_array("", Layout::table);
  for (std::size_t n = 0; n < cases.size(); ++n) describe(call.out(), cases[n], spent[n]);
  call.out().end_array();
  return Status::success;
}

Status run_extfrag(Call& call) {
  memory::manager().physical().describe_fragmentation(call.out());
  return Status::success;
}

}  // namespace kernel::shell
