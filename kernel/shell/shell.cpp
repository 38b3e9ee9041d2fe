// SPDX-License-Identifier: MIT
#include "kernel/shell/shell.hpp"

#include <atomic>

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/boot.hpp"
#include "kernel/console.hpp"
#include "kernel/drivers/serial.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/event.hpp"
#include "kernel/shell/line_editor.hpp"
#include "kernel/shell/link.hpp"
#include "kernel/task/scheduler.hpp"
#include "mm/base/format.hpp"
#include "mm/base/platform.hpp"

namespace kernel::shell {

namespace {

constexpr std::string_view kPrompt = "coronel> ";

constinit ConsoleSink console;
std::string_view command_name(std::size_t index) {
  return index < commands().size() ? commands()[index].name : std::string_view{};
}
constinit LineEditor editor{console, command_name, kPrompt};
constinit Link link;

void end_line(LineEditor::Event event) {
  if (event == LineEditor::Event::too_long) {
    Line().text("line too long: at most ").number(LineEditor::kMostBytes).text(" bytes");
  } else if (event == LineEditor::Event::line) {
    run_for_person(editor.line());
    editor.clear();
    if (com1.take_attention()) com1.read();  // this ^C was for the command, not for the line to come
  }
  print(kPrompt);
}

// True when a byte was there.
bool poll_console() {
  const auto byte = com1.read();
  if (!byte) return false;
  const LineEditor::Event event = editor.feed(*byte);
  if (event != LineEditor::Event::none) end_line(event);
  return true;
}

constinit std::atomic<std::uint32_t> inputs{0};  // interrupts of the serial ports so far

// Sleeps until a byte comes, unless one came between the last look and now; for a tick at most, because half a record
// and FIFOs that are still off are a matter of time.
void idle() {
  constexpr std::uint64_t kTickNs = 1'000'000'000 / memory::config::tick_hz;
  com1.settle();
  com2.settle();
  const std::uint32_t seen = inputs.load(std::memory_order_relaxed);
  if (com1.readable() || com2.readable()) return;
  scheduler::wait_until(inputs, seen, clock::now_ns() + kTickNs / 2);
}

}  // namespace

void on_input() {
  inputs.fetch_add(1, std::memory_order_relaxed);
  memory::platform::wake(inputs);
}

void run() {
  print("Type 'help' for the commands.\n");
  print(kPrompt);
  boot_times.prompt_tsc = cpu::tsc();
  send_ready_event();
  for (;;) {
    const bool programs = link.poll();
    const bool people = poll_console();
    if (!programs && !people) idle();
  }
}

}  // namespace kernel::shell
