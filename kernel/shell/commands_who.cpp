// The command who.
// SPDX-License-Identifier: MIT
#include "kernel/shell/command.hpp"
#include "kernel/symbols.hpp"
#include "mm/virtual/page_table.hpp"
#include "mm/who.hpp"

namespace kernel::shell {

Status run_who(Call& call) {
  const auto number = call.number(0, "ADDRESS", 0, ~std::uint64_t{0});
  if (!number) return Status::invalid;
  const memory::VirtAddr address{*number};
  const auto found = memory::kernel_tables().query(address);
  if (found.error() == memory::Error::not_found)
    return call.fail(found.error(), "nothing is mapped at that address");
  if (!found.ok()) return call.fail(found.error(), "no address that this CPU can have");
  memory::describe_owner(call.out(), memory::manager(), address, found.take().physical, write_return_address);
  return Status::success;
}

}  // namespace kernel::shell
