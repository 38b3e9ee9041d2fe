// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/trap.hpp"

#include <array>

#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/fault_text.hpp"
#include "kernel/arch/x86_64/gdt.hpp"
#include "kernel/arch/x86_64/ipi.hpp"
#include "kernel/arch/x86_64/pic.hpp"
#include "kernel/arch/x86_64/probe.hpp"
#include "kernel/panic.hpp"
#include "kernel/symbols.hpp"
#include "kernel/task/scheduler.hpp"

extern "C" const unsigned char isr_doors[];  // isr.S: 256 doors of 16 bytes

namespace kernel {

namespace {

constexpr std::size_t kVectors = 256;
constexpr std::size_t kDoorBytes = 16;

// Intel SDM volume 3, section 6.14.1.
struct Gate {
  std::uint16_t offset_low;
  std::uint16_t selector;
  std::uint8_t stack;  // slot of the interrupt-stack table, 0: none
  std::uint8_t type;
  std::uint16_t offset_middle;
  std::uint32_t offset_high;
  std::uint32_t reserved;
};
static_assert(sizeof(Gate) == 16);
constexpr std::uint8_t kPresentInterruptGate = 0x8e;  // ring 0; clears IF on entry

struct [[gnu::packed]] TablePointer {
  std::uint16_t limit;
  std::uint64_t base;
};

alignas(16) constinit std::array<Gate, kVectors> interrupt_table{};
constinit std::array<IrqHandler, kIrqs> irq_handlers{};

constexpr InterruptStack stack_for(std::size_t vector) {
  switch (vector) {
    case 1: return InterruptStack::debug;
    case kNmi: return InterruptStack::nmi;
    case kDoubleFault: return InterruptStack::double_fault;
    case 18: return InterruptStack::machine_check;
    default: return InterruptStack::none;
  }
}

void handle_irq(unsigned irq) {
  if (!apic::running() && !pic::is_genuine(irq)) return;
  if (irq_handlers[irq] != nullptr) irq_handlers[irq]();
  if (apic::running()) {
    apic::end_of_interrupt();
  } else {
    pic::end_of_interrupt(irq);
  }
}

bool is_irq(std::uint64_t vector) { return vector >= kFirstIrq && vector < kFirstIrq + kIrqs; }

// False: nobody knows that vector.
bool handle_interrupt(std::uint64_t vector) {
  if (is_irq(vector)) {
    handle_irq(static_cast<unsigned>(vector - kFirstIrq));
    return true;
  }
  if (!apic::running()) return false;
  switch (vector) {
    case apic::kTimer: scheduler::on_tick(); break;
    case apic::kReschedule: scheduler::on_reschedule(); break;
    case apic::kCall: ipi::on_call(); break;
    case apic::kFlush: ipi::on_flush(); break;
    case apic::kSpurious: return true;  // has no end
    default: return false;
  }
  apic::end_of_interrupt();
  return true;
}

// A handler counts and locks on its CPU's own block, wherever the interrupted code stands.
bool handle_on_own_block(std::uint64_t vector) {
  memory::PerCpu& stood = memory::platform::percpu();
  memory::PerCpu& own = *this_cpu().block;
  if (&stood == &own) {
    const bool known = handle_interrupt(vector);
    if (known) scheduler::preempt();
    return known;
  }
  stand_on_cpu(own);
  const bool known = handle_interrupt(vector);
  stand_on_cpu(stood);
  return known;
}

// A page fault that finds no stack to push on arrives as a double fault: the address or the stack pointer
// then points into, or just below the top of, a guard page.
void write_double_fault(memory::Writer& why, const TrapFrame& frame) {
  why.text("double fault");
  memory::TextBuffer<200> overflow;
  for (const std::uint64_t address : {frame.rsp, frame.rsp - 1, cpu::cr2()}) {
    if (!write_stack_overflow(overflow, address)) continue;
    why.clear();
    why.text(overflow.view());
    return;
  }
}

[[noreturn]] void report(const TrapFrame& frame) {
  memory::TextBuffer<384> why;
  switch (frame.vector) {
    case kNmi:
      stop_if_another_panics(frame);
      why.text("NMI: asked from outside where this CPU is");
      break;
    case kPageFault: write_page_fault(why, cpu::cr2(), frame.error); break;
    case kDoubleFault: write_double_fault(why, frame); break;
    case kGeneralProtection:
    case 10:
    case 11:
    case 12:
      why.text(exception_name(frame.vector));
      write_protection_fault(why, frame);
      break;
    default: why.text(exception_name(frame.vector)); break;
  }
  panic_at(why.view(), frame);
}

void write_pair(memory::Writer& line, std::string_view name, std::uint64_t value) {
  line.text("  ").text(name, memory::left(7)).address(value);
}

void write_line(memory::Sink& out, memory::Writer& line) {
  line.text("\n");
  out.write(line.view());
  line.clear();
}

}  // namespace

std::string_view exception_name(std::uint64_t vector) {
  static constexpr std::array<std::string_view, 32> kNames{
      "divide error",
      "debug exception",
      "NMI",
      "breakpoint",
      "overflow",
      "bound range exceeded",
      "invalid opcode",
      "no floating-point unit",
      "double fault",
      "coprocessor segment overrun",
      "invalid task-state segment",
      "segment not present",
      "stack-segment fault",
      "general protection fault",
      "page fault",
      "reserved exception 15",
      "floating-point error",
      "alignment check",
      "machine check",
      "SIMD floating-point error",
      "virtualisation exception",
      "control-protection fault",
      "reserved exception 22",
      "reserved exception 23",
      "reserved exception 24",
      "reserved exception 25",
      "reserved exception 26",
      "reserved exception 27",
      "hypervisor injection",
      "VMM communication",
      "security exception",
      "reserved exception 31",
  };
  return vector < kNames.size() ? kNames[vector] : "interrupt without a handler";
}

void fill_interrupt_table() {
  const auto doors = reinterpret_cast<std::uint64_t>(isr_doors);
  for (std::size_t vector = 0; vector < kVectors; ++vector) {
    const std::uint64_t door = doors + vector * kDoorBytes;
    interrupt_table[vector] = {static_cast<std::uint16_t>(door),
                               kKernelCode,
                               static_cast<std::uint8_t>(stack_for(vector)),
                               kPresentInterruptGate,
                               static_cast<std::uint16_t>(door >> 16),
                               static_cast<std::uint32_t>(door >> 32),
                               0};
  }
}

void load_interrupt_table() {
  const TablePointer pointer{sizeof interrupt_table - 1,
                             reinterpret_cast<std::uint64_t>(interrupt_table.data())};
  asm volatile("lidt %0" : : "m"(pointer));
}

void set_irq_handler(unsigned irq, IrqHandler handler) { irq_handlers[irq] = handler; }

void unmask_irq(unsigned irq) {
  if (apic::running()) {
    apic::unmask(irq);
  } else {
    pic::unmask(irq);
  }
}

void write_registers(memory::Sink& out, const TrapFrame& frame) {
  memory::TextBuffer<200> line;
  line.text("registers:");
  write_line(out, line);
  line.text("  rip    ");
  write_code_address(line, frame.rip);
  write_line(out, line);
  const struct {
    std::string_view name;
    std::uint64_t value;
  } registers[] = {
      {"rsp", frame.rsp},  {"rflags", frame.rflags}, {"error", frame.error}, {"rax", frame.rax},
      {"rbx", frame.rbx},  {"rcx", frame.rcx},       {"rdx", frame.rdx},     {"rsi", frame.rsi},
      {"rdi", frame.rdi},  {"rbp", frame.rbp},       {"r8", frame.r8},       {"r9", frame.r9},
      {"r10", frame.r10},  {"r11", frame.r11},       {"r12", frame.r12},     {"r13", frame.r13},
      {"r14", frame.r14},  {"r15", frame.r15},       {"cr0", cpu::cr0()},    {"cr2", cpu::cr2()},
      {"cr3", cpu::cr3()}, {"cr4", cpu::cr4()},      {"cs", frame.cs},       {"ss", frame.ss},
  };
  unsigned column = 0;
  for (const auto& reg : registers) {
    write_pair(line, reg.name, reg.value);
    if (++column % 3 == 0) write_line(out, line);
  }
}

}  // namespace kernel

extern "C" void trap(kernel::TrapFrame* frame) {
  using namespace kernel;
  if (frame->vector >= kFirstIrq && handle_on_own_block(frame->vector)) return;
  if (frame->vector == kPageFault && ends_probe(*frame)) return;
  report(*frame);
}
