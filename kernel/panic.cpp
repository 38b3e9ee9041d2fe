// SPDX-License-Identifier: MIT
#include "kernel/panic.hpp"

#include <array>
#include <atomic>

#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/power.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/backtrace.hpp"
#include "kernel/console.hpp"
#include "kernel/shell/event.hpp"
#include "mm/base/format.hpp"
#include "mm/base/sync.hpp"

extern "C" {
struct CatchPoint {
  std::uint64_t stack_pointer;
};
bool run_catching(CatchPoint* point, void (*body)(void*), void* context);
[[noreturn]] void leave_to(const CatchPoint* point);
}

namespace kernel {

namespace {

constinit std::atomic<bool> panicking{false};
constinit PanicDetails panic_details = nullptr;
constinit std::string_view current_activity{};

// The innermost catch_panic() in progress; null: a panic is final.
constinit CatchPoint* catch_point = nullptr;
constinit std::array<char, 256> caught_text{};
constinit std::size_t caught_size = 0;

[[noreturn]] void throw_to_catcher(std::string_view why) {
  memory::Writer text(caught_text.data(), caught_text.size());
  text.text(why.empty() ? "(no reason given)" : why);
  caught_size = text.view().size();
  leave_to(catch_point);
}

// A panic while another one is being printed: whatever the first one touched is broken too, so say little and
// go.
void refuse_nested(std::string_view why) {
  if (!panicking.exchange(true)) return;
  print("\npanic inside a panic: ");
  print(why);
  print("\n");
  power::leave(power::ExitCode::panic);
}

void print_head(std::string_view why, const char* file, int line) {
  print("\n\npanic: ");
  print(why);
  print("\n");
  if (file != nullptr) Line().text("  at ").text(file).text(":").number(line);
  const std::uint64_t ns = clock::now_ns();
  Line out;
  out.text("  cpu ").number(memory::platform::percpu().number);
  out.text(", ").number(ns / 1'000'000'000).text(".");
  out.number(ns % 1'000'000'000 / 1000, memory::right(6, '0')).text(" s after the clock started");
  if (!current_activity.empty()) out.text(", ").text(current_activity);
}

// `stack_pointer`: of a trap, 0 otherwise.
[[noreturn]] void print_tail(std::uint64_t first_frame, std::uint64_t stack_pointer = 0) {
  ConsoleSink sink;
  print("backtrace, innermost first:\n");
  write_likely_caller(sink, stack_pointer, first_frame);
  write_backtrace(sink, first_frame);
  if (panic_details != nullptr) panic_details(sink);
  print("end of panic\n");
  power::leave(power::ExitCode::panic);
}

}  // namespace

void panic(std::string_view why, const char* file, int line) {
  cpu::interrupts_disable();
  if (catch_point != nullptr && !panicking.load()) throw_to_catcher(why);
  refuse_nested(why);
  send_panic_event(why, file, line);
  print_head(why, file, line);
  print_tail(frame_pointer());
}

void panic_at(std::string_view why, const TrapFrame& frame) {
  cpu::interrupts_disable();
  if (catch_point != nullptr && !panicking.load() && frame.vector != kNmi) throw_to_catcher(why);
  refuse_nested(why);
  send_panic_event(why, nullptr, 0);
  print_head(why, nullptr, 0);
  ConsoleSink sink;
  write_registers(sink, frame);
  print_tail(frame.rbp, frame.rsp);
}

void set_panic_details(PanicDetails details) { panic_details = details; }
void set_activity(std::string_view activity) { current_activity = activity; }

std::string_view catch_panic(void (*body)(void*), void* context) {
  CatchPoint point{};
  CatchPoint* const outer = catch_point;
  const memory::lock_order::Snapshot ranks;
  memory::PerCpu& cpu = memory::platform::percpu();
  const std::uint32_t preempt_depth = cpu.preempt_depth;
  const std::uint64_t flags = cpu::flags();

  catch_point = &point;
  const bool caught = run_catching(&point, body, context);
  catch_point = outer;
  if (!caught) return {};

  stand_on_cpu(cpu);  // the body may have made a machine of its own and stood on that
  ranks.restore();
  cpu.preempt_depth = preempt_depth;
  memory::platform::irq_restore(flags);
  return {caught_text.data(), caught_size};
}

}  // namespace kernel
