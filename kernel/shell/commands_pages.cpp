// Commands that work the frame allocator beneath the console's own table: pages, addmem, failnth, quiesce.
// SPDX-License-Identifier: MIT
#include "kernel/boot.hpp"
#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/operations.hpp"

namespace kernel::shell {

namespace {

using memory::Error;
using memory::FrameNumber;
using memory::Gfp;
using memory::Layout;
using memory::Order;
using memory::PhysAddr;
using memory::PhysRange;
using memory::Unit;

// One operation of `pages`: a ORDER/FLAGS, or f FRAME/ORDER.
struct PageOperation {
  char what = 0;
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};

std::optional<PageOperation> parse(std::string_view word) {
  const std::size_t slash = word.find('/');
  if (word.size() < 2 || (word[0] != 'a' && word[0] != 'f') || slash == std::string_view::npos) return {};
  const auto first = memory::parse_number(word.substr(1, slash - 1));
  const auto second = memory::parse_number(word.substr(slash + 1));
  if (!first.ok() || !second.ok()) return {};
  return PageOperation{word[0], first.take(), second.take()};
}

// What came of it: a frame number, or 0 for a release.
memory::Result<std::int64_t> perform(const PageOperation& operation) {
  memory::MemoryManager& manager = memory::manager();
  const std::uint64_t order = operation.what == 'a' ? operation.first : operation.second;
  if (order > raw(memory::kMaxOrder)) return Error::invalid;
  const Order blocks{static_cast<std::uint8_t>(order)};
  if (operation.what == 'a') {
    if (operation.second >= memory::kGfpEnd) return Error::invalid;
    return std::int64_t{
        raw(TRY(manager.alloc_pages(blocks, Gfp{static_cast<std::uint8_t>(operation.second)})))};
  }
  const FrameNumber number = operation.first < raw(memory::kNoFrame)
                                 ? FrameNumber{static_cast<std::uint32_t>(operation.first)}
                                 : memory::kNoFrame;
  TRY(manager.free_pages(number, blocks));
  return std::int64_t{0};
}

}  // namespace

Status run_pages(Call& call) { return run_operations(call, "aORDER/FLAGS or fFRAME/ORDER", parse, perform); }

Status run_addmem(Call& call) {
  const auto first = call.number(0, "FIRST", 0, ~std::uint64_t{0});
  const auto end = first ? call.number(1, "END", 0, ~std::uint64_t{0}) : std::nullopt;
  if (!end) return Status::invalid;
  const PhysRange range{PhysAddr{*first}, PhysAddr{*end}};
  // What no machine would add is refused in mm/'s words; only then does it matter which memory this one has.
  const Error wrong = memory::manager().physical().frames().addable(range);
  if (wrong != Error::ok) return call.fail(wrong, memory::text_of(wrong));
  if (!is_held(range)) {
    call.error().text(
        "only memory that the option hold= kept back can be added, whole frames of it; END is not included");
    return Status::invalid;
  }
  memory::Result<void> added = Error::ok;
  {
    const Changing changing;
    added = memory::add_memory(range);
  }
  if (!added.ok()) return call.fail(added.error(), memory::text_of(added.error()));
  call.out().begin_object("", Layout::lines);
  call.out().hex("first", *first);
  call.out().hex("end", *end);
  call.out().end_object();
  return Status::success;
}

Status run_failnth(Call& call) {
  memory::Physical& physical = memory::manager().physical();
  if (call.arguments() == 1) {
    const auto n = call.number(0, "N", 0, ~std::uint64_t{0});
    if (!n) return Status::invalid;
    const Changing changing;
    memory::manager().fail_nth(*n);
  }
  const memory::FailPlan& plan = physical.fail_plan();
  call.out().begin_object("", Layout::lines);
  call.out().text("armed", plan.armed() ? "yes" : "no");
  call.out().text("pending", plan.pending() ? "yes" : "no");
  call.out().text("struck_at", plan.struck() ? memory::name_of(plan.last_site()) : "-");
  call.out().text("refused", plan.struck() ? memory::text_of(plan.last_site()) : "-");
  call.out().end_object();
  return Status::success;
}

Status run_quiesce(Call& call) {
  memory::Physical& physical = memory::manager().physical();
  const auto before = static_cast<std::int64_t>(physical.levels().cached);
  {
    const Changing changing;
    memory::manager().heap().quiesce();
    physical.quiesce();
  }
  call.out().begin_object("", Layout::lines);
  call.out().number("sent_home", before, Unit::frames);
  call.out().end_object();
  return Status::success;
}

}  // namespace kernel::shell
