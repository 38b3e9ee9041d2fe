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
  if (found.ok()) {
    memory::describe_owner(call.out(), memory::manager(), address, found.take().physical,
                           write_return_address);
    return Status::success;
  }
  if (found.error() != memory::Error::not_found)
    return call.fail(found.error(), "no address that this CPU can have");
  const auto hidden = memory::frame_at_fault(address);
  if (!hidden.ok()) return call.fail(hidden.error(), "nothing is mapped at that address");
  const memory::PhysAddr at = memory::address_of(hidden.take()) + address.value % memory::kPageSize;
  memory::describe_owner(call.out(), memory::manager(), address, at, write_return_address,
                         memory::Mapped::no);
  return Status::success;
}

}  // namespace kernel::shell
