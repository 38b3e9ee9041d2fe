// kmain: from the boot loader's hand-over to the shell.
// SPDX-License-Identifier: MIT
#include <cstdint>

#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/gdt.hpp"
#include "kernel/arch/x86_64/pic.hpp"
#include "kernel/arch/x86_64/smp.hpp"
#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "kernel/boot.hpp"
#include "kernel/console.hpp"
#include "kernel/drivers/serial.hpp"
#include "kernel/layout.hpp"
#include "kernel/runtime/cxx.hpp"
#include "kernel/shell/shell.hpp"
#include "kernel/task/thread.hpp"
#include "mm/base/config.hpp"

namespace kernel {

namespace {

void start_cpu() {
  give_stacks(boot_cpu, image_stacks());
  load_segments(boot_cpu.segments);
  fill_interrupt_table();
  load_interrupt_table();
  pic::start();
  clock::start();
}

void start_serial() {
  com1.start();
  com2.start();
}

}  // namespace

}  // namespace kernel

// Entered by boot/entry.S: interrupts off, %gs at boot_percpu, the early interrupt table loaded.
extern "C" [[noreturn]] void kmain(std::uint32_t magic, std::uint32_t info);

void kmain(std::uint32_t magic, std::uint32_t info) {
  using namespace kernel;
  boot_times.kmain_tsc = cpu::tsc();
  randomise_stack_canary();
  start_serial();
  print(memory::config::debug ? "Coronel (debug)\n" : "Coronel\n");
  start_cpu();
  start_memory(receive_boot_info(magic, info));
  run_constructors();
  smp::start_controllers();
  start_threads();
  complete_kernel_record();
  com1.receive_by_interrupt([] {
    com1.on_interrupt();
    shell::on_input();
  });
  com2.receive_by_interrupt([] {
    com2.on_interrupt();
    shell::on_input();
  });
  cpu::interrupts_enable();
  start_other_cpus();
  shell::run();
}
