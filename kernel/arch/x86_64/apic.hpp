// The local APIC of each CPU and the I/O APICs of the machine. Intel SDM volume 3, chapter 11; 82093AA data sheet.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "boot/madt.hpp"
#include "mm/base/result.hpp"

namespace kernel::apic {

// Vectors, by falling priority. What hardware raises by line begins at kFirstIrq (trap.hpp).
inline constexpr std::uint64_t kSpurious = 0xff;
inline constexpr std::uint64_t kFlush = 0xf2;       // other CPUs changed a translation
inline constexpr std::uint64_t kCall = 0xf1;        // run a function
inline constexpr std::uint64_t kReschedule = 0xf0;  // look for another thread
inline constexpr std::uint64_t kTimer = 0xe0;

// Maps the registers and takes the lines over from the 8259s, all masked. Memory has been started, interrupts are
// off, one CPU runs. Fails, and leaves the 8259s at work, with not_found when the CPU or the table has none, busy when
// firmware left the CPU in x2APIC mode, or as map_registers().
memory::Result<void> start(const boot::Madt& madt);
bool running();

// -- this CPU's local APIC
// Switches it on, for NMIs too. Once on each CPU.
void start_this_cpu();
std::uint32_t number();  // this CPU's
void end_of_interrupt();
// The periodic tick, config::tick_hz, by a calibration that measure_timer() made on the boot CPU.
void start_timer();

// Counts the timer against the clock for about half a millisecond. False: the clock stands still.
bool measure_timer();
std::uint64_t timer_hz();  // as measured

// -- messages to other CPUs. Interrupts are off.
void send(std::uint32_t apic, std::uint64_t vector);
void send_nmi_to_all_others();
void send_init(std::uint32_t apic);
void send_startup(std::uint32_t apic, memory::PhysAddr page);  // below 1 MiB

// -- lines of the old controllers, by whatever input the table says. Before running(): nothing.
void unmask(unsigned line);

}  // namespace kernel::apic
