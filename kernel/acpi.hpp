// The firmware's ACPI tables, found once at boot.
// SPDX-License-Identifier: MIT
#pragma once
#include "boot/acpi.hpp"
#include "boot/madt.hpp"

namespace kernel {

// Reads them through the direct map and says on the console what was odd about them. Memory has been started;
// usable memory from `direct_map_end` on is not mapped.
void find_acpi_tables(const memory::BootInfo& info, memory::PhysAddr direct_map_end);

// Reads the table 'APIC', saying what was odd. False: it is not to be used.
bool read_madt(const boot::AcpiTable& table, boot::Madt& to);
// As boot::pm_timer_port(); 0 also without a table 'FACP'.
std::uint16_t read_pm_timer_port();

// What was found; no tables before find_acpi_tables().
const boot::AcpiTables& acpi_tables();
// The root pointer's address; 0: the loader gave none.
memory::PhysAddr acpi_root();

}  // namespace kernel
