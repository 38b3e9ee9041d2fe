// Traps: what every exception and interrupt passes through.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>
#include <string_view>

#include "mm/stats/inspector.hpp"

namespace kernel {

// The registers of the interrupted code, as isr.S pushes them.
struct TrapFrame {
  std::uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
  std::uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
  std::uint64_t vector, error;
  std::uint64_t rip, cs, rflags, rsp, ss;
};
static_assert(sizeof(TrapFrame) == 22 * 8,
              "isr.S pushes 15 registers, vector and error below the CPU's five words");

inline constexpr std::uint64_t kBreakpoint = 3;
inline constexpr std::uint64_t kNmi = 2;
inline constexpr std::uint64_t kDoubleFault = 8;
inline constexpr std::uint64_t kGeneralProtection = 13;
inline constexpr std::uint64_t kPageFault = 14;

// Builds the interrupt table, one for all CPUs. Once.
void fill_interrupt_table();
// Loads it. Needs load_segments() on this CPU before: the gates name its stacks.
void load_interrupt_table();

// Hardware interrupts arrive at kFirstIrq .. kFirstIrq + 15.
inline constexpr std::uint64_t kFirstIrq = 32;
inline constexpr unsigned kIrqs = 16;

using IrqHandler = void (*)();
// Runs on the boot CPU with interrupts off, before the end of interrupt is signalled. One handler a line.
void set_irq_handler(unsigned irq, IrqHandler handler);
// Lets the line through, by whichever controller is at work.
void unmask_irq(unsigned irq);

// "page fault", "divide error", ...; for vectors 0-31.
std::string_view exception_name(std::uint64_t vector);

[[gnu::noinline]] void write_registers(memory::Sink& out, const TrapFrame& frame);

}  // namespace kernel

extern "C" void trap(kernel::TrapFrame* frame);
