// Commands about page tables: tables, pagetables, pgstat.
// SPDX-License-Identifier: MIT
#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/failures.hpp"
#include "mm/table_call.hpp"
#include "mm/virtual/table_report.hpp"

namespace kernel::shell {

namespace {

using memory::Layout;
using memory::TableCall;
using memory::Unit;

// A letter, then its numbers with a slash between two.
std::optional<TableCall> parse(std::string_view word) {
  const auto wanted = memory::table_numbers(word.empty() ? '\0' : word[0]);
  if (!wanted) return {};
  TableCall call{.letter = word[0]};
  word.remove_prefix(1);
  for (std::size_t n = 0; n < *wanted; ++n) {
    const std::size_t slash = word.find('/');
    if ((slash == std::string_view::npos) != (n + 1 == *wanted)) return {};
    const auto number = memory::parse_number(word.substr(0, slash));
    if (!number.ok()) return {};
    call.numbers[n] = number.take();
    word.remove_prefix(slash == std::string_view::npos ? word.size() : slash + 1);
  }
  if (!word.empty()) return {};
  return call;
}

// In a frame of its own: with the room of Failures it is more than a function may have.
[[gnu::noinline]] void perform_all(Call& call, Failures& failures) {
  const Changing changing;
  for_each_word(call.rest(), [&](std::string_view word) {
    const auto done = memory::perform(memory::manager(), *parse(word));
    if (!done.ok()) failures.add(done.error());
    call.out().number(
        "", done.ok() ? static_cast<std::int64_t>(done.take()) : -memory::errno_of(done.error()), Unit::none);
    return true;
  });
}

}  // namespace

// Checks every word before it performs the first, so a wrong one changes nothing.
Status run_tables(Call& call) {
  std::size_t count = 0;
  const bool good = for_each_word(call.rest(), [&](std::string_view word) {
    ++count;
    if (parse(word)) return true;
    call.error().text("expected n, dROOT, mROOT/AT/BYTES/TO/FLAGS, uROOT/AT/BYTES ..., not ").quoted(word);
    return false;
  });
  if (!good) return Status::invalid;
  if (count > Failures::kMost) {
    call.error().text("at most ").number(Failures::kMost).text(" operations at once, not ").number(count);
    return Status::too_big;
  }
  Failures failures;
  call.out().begin_object("", Layout::lines);
  call.out().begin_array("results", Layout::row);
  perform_all(call, failures);
  call.out().end_array();
  failures.describe(call.out());
  call.out().end_object();
  return Status::success;
}

Status run_pagetables(Call& call) {
  const memory::PageTables& tables = memory::kernel_tables();
  if (call.arguments() == 0) {
    memory::describe_root(tables, call.out());
    return Status::success;
  }
  const auto address = call.number(0, "ADDR", 0, ~std::uint64_t{0});
  if (!address) return Status::invalid;
  const auto path = tables.path(memory::VirtAddr{*address});
  if (!path.ok()) {
    call.error().text("no CPU takes that address: its highest bits are not equal");
    return status_of(path.error());
  }
  memory::describe_path(tables.root(), memory::VirtAddr{*address}, path.take(), call.out());
  return Status::success;
}

Status run_pgstat(Call& call) {
  memory::describe_census(memory::kernel_tables(), call.out());
  return Status::success;
}

}  // namespace kernel::shell
