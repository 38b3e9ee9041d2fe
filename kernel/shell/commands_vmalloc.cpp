// Commands about kernel addresses: vmallocinfo, and taking, giving back and showing some.
// SPDX-License-Identifier: MIT
//
// What `vmalloc` and `ioremap` return is the caller's to give back by its address; a wrong address is the memory manager's
// to find, and its policy decides what follows.
#include <array>

#include "kernel/shell/changing.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/symbols.hpp"
#include "mm/memory_manager.hpp"

namespace kernel::shell {

namespace {

using memory::CacheType;
using memory::Layout;
using memory::Result;
using memory::VirtAddr;
using memory::Vmalloc;

void name_caller(memory::Writer& out, std::uint64_t caller) {
  const Symbol symbol = symbol_at(caller);
  if (symbol.name.empty()) {
    out.address(caller);
  } else {
    out.text(symbol.name).text("+").hex(symbol.offset);
  }
}

Status answer(Call& call, Result<VirtAddr> got) {
  if (!got.ok()) return call.fail(got.error(), memory::text_of(got.error()));
  call.out().begin_object("", Layout::lines);
  call.out().hex("address", got.take().value);
  call.out().end_object();
  return Status::success;
}

Status answer(Call& call, Result<void> done) {
  if (done.ok()) return Status::success;
  return call.fail(done.error(), memory::text_of(done.error()));
}

}  // namespace

Status run_vmallocinfo(Call& call) {
  memory::manager().addresses().vmalloc().describe(call.out(), name_caller);
  return Status::success;
}

Status run_vmalloc(Call& call) {
  const auto bytes = call.number(0, "BYTES", 0, ~std::uint64_t{0});
  if (!bytes) return Status::invalid;
  const bool zeroed = call.arguments() > 1;
  if (zeroed && call.argument(1) != "zero") {
    call.error().text("expected zero, not ").quoted(call.argument(1));
    return Status::invalid;
  }
  const Changing changing;
  return answer(call,
                memory::manager().vmalloc(*bytes, memory::Origin::here("console"),
                                          zeroed ? Vmalloc::Contents::zeroed : Vmalloc::Contents::undefined));
}

Status run_vfree(Call& call) {
  const auto at = call.number(0, "ADDRESS", 0, ~std::uint64_t{0});
  if (!at) return Status::invalid;
  const Changing changing;
  return answer(call, memory::manager().vfree(VirtAddr{*at}));
}

Status run_ioremap(Call& call) {
  constexpr std::pair<std::string_view, CacheType> kTypes[] = {
      {"uc", CacheType::uncached},        {"uc-", CacheType::uncached_minus},
      {"wc", CacheType::write_combining}, {"wt", CacheType::write_through},
      {"wp", CacheType::write_protected}, {"wb", CacheType::write_back}};
  const auto physical = call.number(0, "PHYSICAL", 0, ~std::uint64_t{0});
  const auto bytes = physical ? call.number(1, "BYTES", 0, ~std::uint64_t{0}) : physical;
  if (!bytes) return Status::invalid;
  CacheType type = CacheType::uncached;
  if (call.arguments() > 2) {
    bool known = false;
    for (const auto& [name, value] : kTypes) {
      if (call.argument(2) != name) continue;
      type = value;
      known = true;
    }
    if (!known) {
      call.error().text("TYPE must be one of");
      for (const auto& [name, value] : kTypes) call.error().text(" ").text(name);
      call.error().text(", not ").quoted(call.argument(2));
      return Status::invalid;
    }
  }
  const Changing changing;
  return answer(call, memory::manager().addresses().vmalloc().map_device(
                          memory::PhysAddr{*physical}, *bytes, type, memory::Origin::here("console")));
}

Status run_iounmap(Call& call) {
  const auto at = call.number(0, "ADDRESS", 0, ~std::uint64_t{0});
  if (!at) return Status::invalid;
  const Changing changing;
  return answer(call, memory::manager().iounmap(VirtAddr{*at}));
}

}  // namespace kernel::shell
