// Commands about memory: what is there, and taking and giving it back.
// SPDX-License-Identifier: MIT
//
// `alloc` keeps what it gets in a table of its own, and `free` frees only what is in there: no typing error
// can take memory away from the kernel. `break` goes past that table on purpose (faults.cpp).
#include <array>
#include <optional>

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/stress_cpus.hpp"
#include "mm/memory_manager.hpp"
#include "mm/physical/stress.hpp"

namespace kernel::shell {

namespace {

using memory::FrameNumber;
using memory::Layout;
using memory::Order;
using memory::Unit;

// ---- what `alloc` holds

struct Held {
  FrameNumber number{};
  Order order{};
};

class HeldBlocks {
 public:
  static constexpr std::size_t kMost = 1024;

  std::size_t count() const { return count_; }
  std::size_t room() const { return kMost - count_; }
  const Held& operator[](std::size_t index) const { return blocks_[index]; }
  void add(Held block) { blocks_[count_++] = block; }
  Held take(std::size_t index) {
    const Held block = blocks_[index];
    blocks_[index] = blocks_[--count_];
    return block;
  }
  std::optional<std::size_t> find(FrameNumber number) const {
    for (std::size_t i = 0; i < count_; ++i) {
      if (blocks_[i].number == number) return i;
    }
    return std::nullopt;
  }

 private:
  std::array<Held, kMost> blocks_{};
  std::size_t count_ = 0;
};

constinit HeldBlocks held;
constinit std::optional<memory::Stress> stress;  // a run that holds its blocks

std::int64_t as_number(std::uint64_t value) { return static_cast<std::int64_t>(value); }

Status interrupted(Call& call) {
  call.error().text("interrupted by ^C");
  return Status::interrupted;
}

void give_back(std::size_t index) {
  const Held block = held.take(index);
  const auto released = memory::manager().free_pages(block.number, block.order);
  CHECK(released.ok());
}

// Takes `count` blocks or none.
Status take_blocks(Call& call, Order order, std::size_t count, memory::Gfp flags) {
  for (std::size_t taken = 0; taken < count; ++taken) {
    const bool stop = Call::interrupted();
    const auto block =
        stop ? memory::Result<FrameNumber>(memory::Error::busy) : memory::manager().alloc_pages(order, flags);
    if (block.ok()) {
      held.add({block.take(), order});
      continue;
    }
    for (std::size_t i = 0; i < taken; ++i) give_back(held.count() - 1);
    if (stop) return interrupted(call);
    call.error()
        .text(memory::text_of(block.error()))
        .text(" after ")
        .number(taken)
        .text(" of ")
        .number(count);
    call.error().text(" blocks; those are given back");
    return status_of(block.error());
  }
  return Status::success;
}

// The flags that a person names, or nothing and the error is set.
std::optional<memory::Gfp> parse_flags(Call& call, std::string_view word) {
  using memory::Gfp;
  constexpr std::pair<std::string_view, Gfp> kNames[] = {{"kernel", Gfp::kernel},
                                                         {"atomic", Gfp::atomic},
                                                         {"user", Gfp::user},
                                                         {"highmem", Gfp::highmem},
                                                         {"dma", Gfp::dma}};
  for (const auto& [name, flags] : kNames)
    if (word == name) return flags;
  call.error().text("FLAGS must be one of");
  for (const auto& [name, flags] : kNames) call.error().text(" ").text(name);
  call.error().text(", not ").quoted(word);
  return std::nullopt;
}

// The blocks from `first` on: their first frames' numbers in one line.
void describe_held(memory::Inspector& out, std::size_t first) {
  out.begin_array("frames", Layout::row);
  for (std::size_t i = first; i < held.count(); ++i) out.number("", raw(held[i].number), Unit::none);
  out.end_array();
}

}  // namespace

Status run_meminfo(Call& call) {
  memory::manager().physical().describe_meminfo(call.out());
  return Status::success;
}

Status run_buddyinfo(Call& call) {
  memory::manager().physical().describe_buddyinfo(call.out());
  return Status::success;
}

Status run_zoneinfo(Call& call) {
  memory::manager().physical().describe_zoneinfo(call.out());
  return Status::success;
}

Status run_stats(Call& call) {
  memory::manager().describe_counters(call.out());
  return Status::success;
}

Status run_frames(Call& call) {
  constexpr std::uint64_t kMost = 4096;
  const memory::FrameTable& frames = memory::manager().physical().frames();
  std::uint64_t first = 0;
  std::uint64_t count = 16;
  if (call.arguments() >= 1) {
    const auto number = call.number(0, "FIRST", 0, raw(frames.limit()) - 1);
    if (!number) return Status::invalid;
    first = *number;
  }
  if (call.arguments() == 2) {
    const auto number = call.number(1, "COUNT", 1, kMost);
    if (!number) return Status::invalid;
    count = *number;
  }
  memory::manager().physical().describe_frames(call.out(), FrameNumber{static_cast<std::uint32_t>(first)},
                                               count);
  return Status::success;
}

Status run_alloc(Call& call) {
  const auto order = call.number(0, "ORDER", 0, raw(memory::kMaxOrder));
  if (!order) return Status::invalid;
  std::uint64_t count = 1;
  if (call.arguments() >= 2) {
    const auto number = call.number(1, "COUNT", 1, HeldBlocks::kMost);
    if (!number) return Status::invalid;
    count = *number;
  }
  auto flags = std::optional(memory::Gfp::kernel);
  if (call.arguments() == 3) flags = parse_flags(call, call.argument(2));
  if (!flags) return Status::invalid;
  if (count > held.room()) {
    call.error().text("room for ").number(held.room()).text(" more blocks, not ").number(count);
    call.error().text("; 'free' some first");
    return Status::too_big;
  }
  const std::size_t first = held.count();
  {
    const Changing changing;
    const Status status = take_blocks(call, Order{static_cast<std::uint8_t>(*order)}, count, *flags);
    if (status != Status::success) return status;
  }
  call.out().begin_object("", Layout::lines);
  call.out().number("order", as_number(*order), Unit::none);
  describe_held(call.out(), first);
  call.out().end_object();
  return Status::success;
}

Status run_free(Call& call) {
  const bool all = call.argument(0) == "all";
  std::size_t index = 0;
  if (!all) {
    const auto number = call.number(0, "FRAME", 0, 0xffff'ffff);
    if (!number) return Status::invalid;
    const auto found = held.find(FrameNumber{static_cast<std::uint32_t>(*number)});
    if (!found) {
      call.error()
          .text("no block that 'alloc' holds begins at frame ")
          .number(*number)
          .text("; 'held' lists them");
      return Status::invalid;
    }
    index = *found;
  }
  std::int64_t freed = 0;
  {
    const Changing changing;
    do {
      if (held.count() == 0) break;
      give_back(all ? held.count() - 1 : index);
      ++freed;
    } while (all);
  }
  call.out().begin_object("", Layout::lines);
  call.out().number("freed", freed, Unit::none);
  call.out().end_object();
  return Status::success;
}

Status run_held(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", Layout::lines);
  out.number("count", as_number(held.count()), Unit::none);
  out.begin_array("blocks", Layout::table);
  for (std::size_t i = 0; i < held.count(); ++i) {
    out.begin_object("", Layout::row);
    out.number("frame", raw(held[i].number), Unit::none);
    out.number("order", raw(held[i].order), Unit::none);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return Status::success;
}

namespace {

void release_stress() {
  if (!stress) return;
  const Changing changing;
  stress->release_all();
  stress.reset();
}

void describe_report(memory::Inspector& out, const memory::StressReport& report, std::uint64_t seed) {
  out.begin_object("", Layout::lines);
  out.hex("seed", seed);
  out.number("operations", as_number(report.operations), Unit::none);
  out.number("allocations", as_number(report.allocations), Unit::none);
  out.number("releases", as_number(report.releases), Unit::none);
  out.number("refused", as_number(report.refused), Unit::none);
  out.number("misuses", as_number(report.misuses), Unit::none);
  out.number("live_blocks", as_number(report.live_blocks), Unit::none);
  out.number("live_frames", as_number(report.live_frames), Unit::none);
  out.end_object();
}

void describe_report(memory::Inspector& out, const CpuStressReport& report, std::uint64_t seed) {
  out.begin_object("", Layout::lines);
  out.hex("seed", seed);
  out.number("cpus", cpu_count(), Unit::none);
  out.number("operations", as_number(report.operations), Unit::none);
  out.number("refused", as_number(report.refused), Unit::none);
  out.number("shootdowns", as_number(report.shootdowns), Unit::none);
  out.begin_array("paths", Layout::table);
  for (std::size_t path = 0; path < kStressPaths; ++path) {
    out.begin_object("", Layout::row);
    out.text("path", name_of(static_cast<StressPath>(path)));
    out.number("count", as_number(report.paths[path]), Unit::none);
    out.text("what", text_of(static_cast<StressPath>(path)));
    out.end_object();
  }
  out.end_array();
  out.end_object();
}

struct StressOptions {
  std::uint64_t operations = 0;
  std::uint64_t seed = 1;
  bool hold = false;
};

std::optional<StressOptions> parse_stress(Call& call) {
  constexpr std::string_view kSeed = "seed=";
  StressOptions options;
  const auto operations = call.number(1, "N", 1, 1'000'000'000);
  if (!operations) return std::nullopt;
  options.operations = *operations;
  for (std::size_t i = 2; i < call.arguments(); ++i) {
    const std::string_view word = call.argument(i);
    if (word == "hold") {
      options.hold = true;
    } else if (word.substr(0, kSeed.size()) == kSeed) {
      const auto seed = call.number_in(word.substr(kSeed.size()), "seed", 0, ~std::uint64_t{0});
      if (!seed) return std::nullopt;
      options.seed = *seed;
    } else {
      call.error().text("expected seed=S or hold, not ");
      call.error().quoted(word);
      return std::nullopt;
    }
  }
  return options;
}

Status run_cpu_stress(Call& call, const StressOptions& options) {
  const auto ran = [&] {
    const Changing changing;
    return stress_cpus(options.operations, options.seed, [] { return !Call::interrupted(); });
  }();
  if (!ran.ok()) return call.fail(ran.error(), memory::text_of(ran.error()));
  if (Call::interrupted()) return interrupted(call);
  describe_report(call.out(), ran.take(), options.seed);
  return Status::success;
}

}  // namespace

// A run ends by giving everything back, unless it is told to hold it: then a reader may compare every frame,
// and `stress release` or the next run gives it back.
Status run_stress(Call& call) {
  if (call.argument(0) == "release" && call.arguments() == 1) {
    release_stress();
    return Status::success;
  }
  const bool on_cpus = call.argument(0) == "cpus";
  if ((call.argument(0) != "pages" && !on_cpus) || call.arguments() < 2) {
    call.error().text("usage: stress pages N [seed=S] [hold], stress cpus N [seed=S], or stress release");
    return Status::invalid;
  }
  const auto options = parse_stress(call);
  if (!options) return Status::invalid;
  release_stress();
  if (on_cpus) return run_cpu_stress(call, *options);
  stress.emplace(memory::manager().physical(), options->seed);
  memory::Result<void> ran = memory::Error::ok;
  {
    const Changing changing;
    ran = stress->run(options->operations, [] { return !Call::interrupted(); });
  }
  const memory::StressReport report = stress->report();
  if (!options->hold || !ran.ok() || Call::interrupted()) release_stress();
  if (!ran.ok()) return call.fail(ran.error(), memory::text_of(ran.error()));
  if (Call::interrupted()) return interrupted(call);
  describe_report(call.out(), report, options->seed);
  return Status::success;
}

}  // namespace kernel::shell
