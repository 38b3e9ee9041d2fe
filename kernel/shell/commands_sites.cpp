// The command callsites.
// SPDX-License-Identifier: MIT
#include "kernel/shell/command.hpp"
#include "kernel/still.hpp"
#include "kernel/symbols.hpp"
#include "mm/call_sites.hpp"

namespace kernel::shell {

namespace {

constinit memory::CallSites call_sites;  // the shell runs one command at a time

}  // namespace

Status run_callsites(Call& call) {
  std::optional<std::uint64_t> first = 0;
  if (call.arguments() > 0) first = call.number(0, "FIRST", 0, ~std::uint64_t{0} >> 1);
  if (!first) return Status::invalid;
  if constexpr (!memory::CallSites::known()) {
    return call.fail(memory::Error::unsupported, memory::text_of(memory::Error::unsupported));
  } else {
    const memory::HeapLevels heap = memory::manager().kernel_heap().levels();
    while_still(
        [](void* found, const StandingStacks&) {
          static_cast<memory::CallSites*>(found)->count(memory::manager().physical().frames());
        },
        &call_sites);
    memory::describe_call_sites(call.out(), call_sites, heap, *first, write_return_address);
    return Status::success;
  }
}

}  // namespace kernel::shell
