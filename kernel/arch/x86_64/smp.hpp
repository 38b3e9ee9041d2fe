// The other CPUs: how they are started, and what is done on all of them.
// SPDX-License-Identifier: MIT
#pragma once
#include "boot/madt.hpp"
#include "mm/base/types.hpp"

namespace kernel::smp {

// Says on the console what it finds. From here on interrupts come by the I/O APIC, and ticks by the local APIC's timer,
// when the firmware's tables allow it; else the 8259s stay at work and there is one CPU. Interrupts are off.
void start_controllers();

// Starts the CPUs of the table, at most `most` with this one, the others left alone. `page`: below 1 MiB, nobody's; 0:
// there is none. After start_controllers(); threads exist; interrupts are on. A CPU that does not answer is said.
void start_others(unsigned most, memory::PhysAddr page);

}  // namespace kernel::smp
