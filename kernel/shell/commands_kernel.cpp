// Commands about the kernel itself.
// SPDX-License-Identifier: MIT
#include "kernel/acpi.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/power.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/boot.hpp"
#include "kernel/console.hpp"
#include "kernel/drivers/serial.hpp"
#include "kernel/panic.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/event.hpp"

namespace kernel::shell {

namespace {
using memory::Layout;
using memory::Unit;

std::int64_t as_number(std::uint64_t value) { return static_cast<std::int64_t>(value); }
}  // namespace

Status run_uptime(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", Layout::lines);
  out.number("uptime", as_number(clock::now_ns()), Unit::ns);
  out.number("ticks", as_number(clock::ticks()), Unit::events);
  out.number("kmain_to_prompt", as_number(boot_times.prompt_tsc - boot_times.kmain_tsc), Unit::none);
  out.number("com1_unsent", as_number(com1.bytes_unsent()), Unit::none);
  out.number("com1_overruns", as_number(com1.bytes_overrun()), Unit::none);
  out.number("com2_unsent", as_number(com2.bytes_unsent()), Unit::none);
  out.number("com2_overruns", as_number(com2.bytes_overrun()), Unit::none);
  out.end_object();
  return Status::success;
}

Status run_acpi(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", Layout::lines);
  out.hex("root", acpi_root().value);
  out.number("dropped", as_number(acpi_tables().dropped()), Unit::none);
  out.begin_array("tables", Layout::table);
  for (const boot::AcpiTable& table : acpi_tables().all()) {
    out.begin_object("", Layout::row);
    out.text("signature", table.signature());
    out.hex("address", table.address.value);
    out.number("bytes", table.bytes, Unit::none);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return Status::success;
}

Status run_stacks(Call& call) {
  memory::Inspector& out = call.out();
  out.begin_object("", Layout::lines);
  out.begin_array("stacks", Layout::table);
  for_each_stack([&](std::string_view name, const KernelStack& stack) {
    out.begin_object("", Layout::row);
    out.hex("guard", stack.bottom.value - memory::kPageSize);
    out.hex("top", stack.top.value);
    out.number("bytes", as_number(stack.top - stack.bottom), Unit::none);
    out.number("used_at_most", as_number(high_water_bytes(stack)), Unit::none);
    out.text("stack", name);
    out.end_object();
  });
  out.end_array();
  out.end_object();
  return Status::success;
}

Status run_panic(Call& call) {
  const std::string_view text = call.rest();
  panic(text.empty() ? "asked for on the console" : text, nullptr, 0);
}

Status run_reboot(Call&) {
  send_reboot_event();
  print("rebooting\n");
  power::reset();
}

Status run_poweroff(Call&) {
  send_poweroff_event();
  print("power off\n");
  power::leave(power::ExitCode::poweroff);
}

}  // namespace kernel::shell
