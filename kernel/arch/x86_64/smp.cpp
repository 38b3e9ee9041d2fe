// SPDX-License-Identifier: MIT
//
// Starting a CPU takes INIT, a pause of 10 ms, and one or two start-up messages (Intel SDM volume 3, section 9.4.4.1).
// INIT goes to all of them first, so the pause is one; then each comes up alone, because there is one page and one
// ticket (trampoline.S).
#include "kernel/arch/x86_64/smp.hpp"

#include <algorithm>

#include "kernel/acpi.hpp"
#include "kernel/arch/x86_64/apic.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/control.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/console.hpp"
#include "kernel/task/scheduler.hpp"
#include "mm/memory_manager.hpp"
#include "mm/virtual/page_table.hpp"

extern "C" {
extern const unsigned char trampoline_start[], trampoline_end[];
extern unsigned char trampoline_gdt[], trampoline_gdt_base[], trampoline_far32[], trampoline_32[],
    trampoline_far64[], trampoline_64[];

// What trampoline.S gives to the CPU that comes.
[[gnu::used]] constinit std::uint32_t cpu_ticket_apic = 0;
[[gnu::used]] constinit std::uint64_t cpu_ticket_stack = 0;  // taken by an exchange
[[gnu::used]] constinit std::uint64_t cpu_ticket_root = 0;
[[gnu::used]] constinit std::uint64_t cpu_ticket_block = 0;

[[noreturn, gnu::used]] void further_cpu_main();
}

namespace kernel::smp {

namespace {

using memory::PhysAddr;
using memory::Result;

constinit boot::Madt madt{};
constinit bool usable = false;

constexpr std::uint64_t kInitPauseNs = 10'000'000;
constexpr std::uint64_t kFirstWaitNs = 2'000'000;     // before the message is repeated
constexpr std::uint64_t kPatienceNs = 5'000'000'000;  // an emulator may be busy elsewhere

void wait_ns(std::uint64_t ns) {
  const std::uint64_t end = clock::now_ns() + ns;
  while (clock::now_ns() < end) memory::platform::relax();
}

bool comes_within(const Cpu& cpu, std::uint64_t ns) {
  const std::uint64_t end = clock::now_ns() + ns;
  while (cpu.state.load(std::memory_order_acquire) != CpuState::running) {
    if (clock::now_ns() >= end) return false;
    memory::platform::relax();
  }
  return true;
}

// ---- the trampoline's page

std::byte* bytes_of(PhysAddr page) {
  return memory::manager().physical().frames().open(memory::frame_at(page)).bytes();
}

void put_address(PhysAddr page, const unsigned char* place, const unsigned char* target) {
  const auto value =
      static_cast<std::uint32_t>(page.value + static_cast<std::size_t>(target - trampoline_start));
  __builtin_memcpy(bytes_of(page) + (place - trampoline_start), &value, sizeof value);
}

void fill_page(PhysAddr page) {
  __builtin_memcpy(bytes_of(page), trampoline_start,
                   static_cast<std::size_t>(trampoline_end - trampoline_start));
  put_address(page, trampoline_gdt_base, trampoline_gdt);
  put_address(page, trampoline_far32, trampoline_32);
  put_address(page, trampoline_far64, trampoline_64);
}

// ---- one CPU

void send_startup(const Cpu& cpu, PhysAddr page) {
  const memory::InterruptsOff off;
  apic::send_startup(cpu.apic, page);
}

enum class Answer : std::uint8_t {
  runs,
  none,    // and it never will: nobody took the ticket
  silent,  // it took the ticket, and is on its stacks somewhere
};

Answer start(Cpu& cpu, PhysAddr page) {
  cpu_ticket_apic = cpu.apic;
  cpu_ticket_root = coronel_record.root;
  cpu_ticket_block = reinterpret_cast<std::uint64_t>(cpu.block);
  const std::atomic_ref<std::uint64_t> ticket(cpu_ticket_stack);
  ticket.store(cpu.idle.stack.top.value, std::memory_order_seq_cst);
  send_startup(cpu, page);
  if (comes_within(cpu, kFirstWaitNs)) return Answer::runs;
  send_startup(cpu, page);
  if (comes_within(cpu, kPatienceNs)) return Answer::runs;
  // Whoever takes the ticket comes; who finds none never will.
  if (ticket.exchange(0, std::memory_order_seq_cst) != 0) return Answer::none;
  return comes_within(cpu, kPatienceNs) ? Answer::runs : Answer::silent;
}

void say_no_controllers(std::string_view why) {
  Line().text("boot: ").text(why).text("; one CPU is used, and the 8259 interrupt controllers");
}

bool read_tables() {
  const boot::AcpiTable* table = acpi_tables().table("APIC");
  if (table == nullptr) {
    if (acpi_root().value != 0) say_no_controllers("no ACPI table 'APIC'");
    return false;
  }
  if (!read_madt(*table, madt)) return false;  // said there
  const std::uint16_t port = read_pm_timer_port();
  if (port == 0 || !clock::use_pm_timer(port)) {
    say_no_controllers("no ACPI power-management timer");
    return false;
  }
  return true;
}

}  // namespace

void start_controllers() {
  if (!read_tables()) return;
  const auto started = apic::start(madt);
  if (!started.ok() || !apic::measure_timer()) {
    CHECK(!started.ok());  // the clock that it was measured against moves
    return say_no_controllers("no usable local APIC or I/O APIC");
  }
  boot_cpu.apic = apic::number();
  apic::start_timer();
  usable = true;
}

void start_others(unsigned most, PhysAddr page) {
  if (!usable) return;
  const auto others =
      std::ranges::count_if(madt.cpus(), [](std::uint8_t apic) { return apic != boot_cpu.apic; });
  if (others == 0 || most <= 1) return;
  if (page.value == 0) return say_no_controllers("no free page below 1 MiB to start CPUs in");
  for (const std::uint8_t apic : madt.cpus()) {
    const memory::InterruptsOff off;
    if (apic != boot_cpu.apic) apic::send_init(apic);
  }
  fill_page(page);
  wait_ns(kInitPauseNs);
  for (const std::uint8_t apic : madt.cpus()) {
    if (apic == boot_cpu.apic || cpu_count() >= most) continue;
    const auto stacks = make_cpu_stacks(cpu_count());
    if (!stacks.ok()) {
      Line().text("boot: no memory for the stacks of CPU ").number(cpu_count()).text("; it is left alone");
      break;
    }
    Cpu& cpu = add_cpu(apic, stacks.take());
    cpu.state.store(CpuState::starting, std::memory_order_release);
    const Answer answer = start(cpu, page);
    if (answer == Answer::runs) continue;
    Line().text("boot: the CPU with APIC number ").number(apic).text(" does not answer; it is left alone");
    drop_cpu(cpu);
    if (answer == Answer::none) release_cpu_stacks(cpu.stacks);
  }
  Line().text("boot: ").number(cpu_count()).text(" CPUs");
}

}  // namespace kernel::smp

// On its idle stack, with %gs set: nothing else of this CPU is.
void further_cpu_main() {
  using namespace kernel;
  Cpu& cpu = this_cpu();
  load_segments(cpu.segments);
  load_interrupt_table();
  load_control_registers();
  memory::kernel_tables().enter();  // flushes reach this CPU from here on
  apic::start_this_cpu();
  apic::start_timer();
  cpu.state.store(CpuState::running, std::memory_order_release);
  scheduler::idle();
}
