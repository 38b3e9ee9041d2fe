// Commands about page tables: tables, pagetables, pgstat.
// SPDX-License-Identifier: MIT
#include "kernel/shell/command.hpp"
#include "kernel/shell/operations.hpp"
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

}  // namespace

Status run_tables(Call& call) {
  return run_operations(call, "n, dROOT, mROOT/AT/BYTES/TO/FLAGS, uROOT/AT/BYTES ...", parse,
                        [](const TableCall& one) -> memory::Result<std::int64_t> {
                          return static_cast<std::int64_t>(TRY(memory::perform(memory::manager(), one)));
                        });
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
