// SPDX-License-Identifier: MIT
#include "kernel/panic.hpp"

#include <array>
#include <atomic>

#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/power.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/backtrace.hpp"
#include "kernel/console.hpp"
#include "kernel/shell/event.hpp"
#include "kernel/symbols.hpp"
#include "kernel/task/scheduler.hpp"
#include "kernel/task/thread.hpp"
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

constexpr unsigned kNobody = ~0u;
constinit std::atomic<unsigned> panicking_cpu{kNobody};
constinit PanicDetails panic_details = nullptr;
constinit std::string_view current_activity{};

constinit std::array<char, 256> caught_text{};
constinit std::size_t caught_size = 0;

// The innermost catch_panic() in progress on this thread; null: a panic is final.
CatchPoint*& catch_point() { return current_thread().catch_point; }

bool somebody_panics() { return panicking_cpu.load() != kNobody; }

[[noreturn]] void throw_to_catcher(std::string_view why) {
  memory::Writer text(caught_text.data(), caught_text.size());
  text.text(why.empty() ? "(no reason given)" : why);
  caught_size = text.view().size();
  leave_to(catch_point());
}

// ---- one CPU panics, the others stop

// Another CPU has the word. It prints where this one was.
[[noreturn]] void stop_here(std::uint64_t ip, std::uint64_t stack_pointer, std::uint64_t frame,
                            std::string_view why) {
  Cpu& here = this_cpu();
  memory::Writer reason(here.stopped.why.data(), here.stopped.why.size());
  reason.text(why);
  here.stopped.why_size = reason.view().size();
  here.stopped.ip = ip;
  here.stopped.stack_pointer = stack_pointer;
  here.stopped.frame = frame;
  here.state.store(CpuState::stopped, std::memory_order_release);
  cpu::halt_for_ever();
}

// Returns on the CPU that panics first. A panic inside a panic says little and goes: whatever the first one touched is
// broken too.
void claim_panic(std::string_view why, std::uint64_t ip, std::uint64_t stack_pointer, std::uint64_t frame) {
  const unsigned here = this_cpu().number;
  unsigned first = kNobody;
  if (panicking_cpu.compare_exchange_strong(first, here)) return;
  if (first != here) stop_here(ip, stack_pointer, frame, why);
  print("\npanic inside a panic: ");
  print(why);
  print("\n");
  power::leave(power::ExitCode::panic);
}

void stop_others() {
  if (cpu_count() == 1) return;
  constexpr std::uint64_t kPatienceNs = 5'000'000'000;
  apic::send_nmi_to_all_others();
  const std::uint64_t end = clock::now_ns() + kPatienceNs;
  for (unsigned n = 0; n < cpu_count(); ++n) {
    const Cpu& cpu = cpu_at(n);
    while (&cpu != &this_cpu() && cpu.state.load(std::memory_order_acquire) != CpuState::stopped &&
           clock::now_ns() < end)
      asm volatile("pause");
  }
}

void print_others(memory::Sink& out) {
  for (unsigned n = 0; n < cpu_count(); ++n) {
    const Cpu& cpu = cpu_at(n);
    if (&cpu == &this_cpu()) continue;
    memory::TextBuffer<200> line;
    line.text("CPU ").number(n);
    if (cpu.state.load(std::memory_order_acquire) != CpuState::stopped) {
      line.text(" did not stop\n");
      out.write(line.view());
      continue;
    }
    line.text(", in thread ").text(scheduler::running_on(cpu).title());
    if (cpu.stopped.why_size > 0)
      line.text(", panicked too: ").text({cpu.stopped.why.data(), cpu.stopped.why_size});
    line.text("\n  ");
    write_code_address(line, cpu.stopped.ip);
    line.text("\n");
    out.write(line.view());
    write_likely_caller(out, cpu.stopped.stack_pointer, cpu.stopped.frame);
    write_backtrace(out, cpu.stopped.frame);
  }
}

void print_head(std::string_view why, const char* file, int line) {
  print("\n\npanic: ");
  print(why);
  print("\n");
  if (file != nullptr) Line().text("  at ").text(file).text(":").number(line);
  const std::uint64_t ns = clock::now_ns();
  Line out;
  out.text("  cpu ").number(this_cpu().number);
  out.text(", ").number(ns / 1'000'000'000).text(".");
  out.number(ns % 1'000'000'000 / 1000, memory::right(6, '0')).text(" s after the clock started");
  if (&current_thread() != &boot_thread) out.text(", in thread ").text(current_thread().title());
  if (!current_activity.empty()) out.text(", ").text(current_activity);
}

// `stack_pointer`: of a trap, 0 otherwise.
[[noreturn]] void print_tail(std::uint64_t first_frame, std::uint64_t stack_pointer = 0) {
  ConsoleSink sink;
  print("backtrace, innermost first:\n");
  write_likely_caller(sink, stack_pointer, first_frame);
  write_backtrace(sink, first_frame);
  print_others(sink);
  if (panic_details != nullptr) panic_details(sink);
  print("end of panic\n");
  power::leave(power::ExitCode::panic);
}

}  // namespace

void panic(std::string_view why, const char* file, int line) {
  cpu::interrupts_disable();
  if (catch_point() != nullptr && !somebody_panics()) throw_to_catcher(why);
  claim_panic(why, reinterpret_cast<std::uint64_t>(__builtin_return_address(0)), 0, frame_pointer());
  stop_others();
  send_panic_event(why, file, line);
  print_head(why, file, line);
  print_tail(frame_pointer());
}

void panic_at(std::string_view why, const TrapFrame& frame) {
  cpu::interrupts_disable();
  if (catch_point() != nullptr && !somebody_panics() && frame.vector != kNmi) throw_to_catcher(why);
  claim_panic(why, frame.rip, frame.rsp, frame.rbp);
  stop_others();
  send_panic_event(why, nullptr, 0);
  print_head(why, nullptr, 0);
  ConsoleSink sink;
  write_registers(sink, frame);
  print_tail(frame.rbp, frame.rsp);
}

void stop_if_another_panics(const TrapFrame& frame) {
  const unsigned first = panicking_cpu.load();
  if (first != kNobody && first != this_cpu().number) stop_here(frame.rip, frame.rsp, frame.rbp, {});
}

void set_panic_details(PanicDetails details) { panic_details = details; }
void set_activity(std::string_view activity) { current_activity = activity; }

std::string_view catch_panic(void (*body)(void*), void* context) {
  CatchPoint point{};
  CatchPoint* const outer = catch_point();
  const memory::lock_order::Snapshot ranks;
  memory::PerCpu& cpu = memory::platform::percpu();
  const std::uint32_t preempt = cpu.preempt_depth();
  const std::uint64_t flags = cpu::flags();

  catch_point() = &point;
  const bool caught = run_catching(&point, body, context);
  catch_point() = outer;
  if (!caught) return {};

  stand_on_cpu(cpu);  // the body may have made a machine of its own and stood on that
  ranks.restore();
  cpu.preempt = preempt | memory::PerCpu::kNobodyAsks;  // at worst the next tick asks again
  memory::platform::irq_restore(flags);
  return {caught_text.data(), caught_size};
}

}  // namespace kernel
