// From the loader's hand-over to a kernel with memory: everything that happens once, in order.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "boot/report.hpp"
#include "mm/base/boot_info.hpp"

namespace kernel {

// Reads what the loader left and the options of its command line, and says on the console what was odd about them;
// memory that an option holds is set aside. When nothing usable was left, says why and leaves the machine with
// ExitCode::unusable.
const memory::BootInfo& receive_boot_info(std::uint32_t magic, std::uint32_t information);

// As smp::start_others(), as the option maxcpus= has it.
void start_other_cpus();

// Whether every byte of `range` is memory that the option hold= kept back, and there is one.
bool is_held(memory::PhysRange range);

// Prints each remark of a parser of boot/ as a line.
void print_notes(const boot::BootReport& report);

// Starts memory::manager(): from here on allocations work, and the page tables are the kernel's own; and looks for ACPI
// tables. Leaves the machine with ExitCode::unusable when it is too small.
void start_memory(const memory::BootInfo& info);

// The time-stamp counter when kmain began and when the first prompt was ready; 0: not yet.
struct BootTimes {
  std::uint64_t kmain_tsc = 0;
  std::uint64_t prompt_tsc = 0;
};
extern BootTimes boot_times;

}  // namespace kernel
