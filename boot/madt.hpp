// Madt: the CPUs and interrupt controllers that the firmware's table 'APIC' names.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "boot/acpi.hpp"
#include "mm/base/config.hpp"

namespace boot {

// ACPI Specification 6.5, section 5.2.12 "Multiple APIC Description Table".
struct IoApic {
  std::uint32_t address = 0;
  std::uint32_t first_interrupt = 0;  // the global number of its input 0
};

// What differs from "line n of the old controllers is global interrupt n, edge triggered, active high".
struct InterruptOverride {
  std::uint8_t line = 0;
  std::uint32_t interrupt = 0;
  std::uint16_t flags = 0;
  constexpr bool active_low() const { return (flags & 3) == 3; }
  constexpr bool level_triggered() const { return (flags >> 2 & 3) == 3; }
};

class Madt {
 public:
  static constexpr std::size_t kMostCpus = memory::config::max_cpus;
  static constexpr std::size_t kMostIoApics = 8;
  static constexpr std::size_t kMostOverrides = 16;
  static constexpr std::uint32_t kMostApicId = 254;  // 255 is everybody's; more needs an x2APIC
  // Entries that are looked at: a bound for the time that a nonsensical table can take.
  static constexpr std::size_t kMostEntries = 4096;

  // Reads a table that AcpiTables found, so its whole length can be read and its sum is right. Fails with invalid,
  // noted, when an entry's length cannot be; then this names nothing. What does not fit is counted.
  Result<void> read(const FirmwareView& memory, const AcpiTable& table, BootReport& report);

  PhysAddr local_apic() const { return local_apic_; }
  bool has_old_controllers() const { return has_old_controllers_; }  // two 8259s beside all this

  // The local APIC's number of each CPU that is enabled, in the table's order, each once.
  std::span<const std::uint8_t> cpus() const { return {cpus_.data(), cpu_count_}; }
  std::size_t cpus_left() const { return cpus_left_; }          // enabled, but more than kMostCpus
  std::size_t cpus_disabled() const { return cpus_disabled_; }  // not enabled; some may be plugged in later
  std::size_t cpus_unreachable() const {
    return cpus_unreachable_;
  }  // enabled, but only an x2APIC reaches them

  std::span<const IoApic> io_apics() const { return {io_apics_.data(), io_apic_count_}; }
  std::span<const InterruptOverride> overrides() const { return {overrides_.data(), override_count_}; }
  // Where that line of the old controllers arrives.
  InterruptOverride route(std::uint8_t line) const;

 private:
  friend class MadtParser;

  PhysAddr local_apic_{};
  bool has_old_controllers_ = false;
  std::array<std::uint8_t, kMostCpus> cpus_{};
  std::size_t cpu_count_ = 0;
  std::size_t cpus_left_ = 0;
  std::size_t cpus_disabled_ = 0;
  std::size_t cpus_unreachable_ = 0;
  std::array<IoApic, kMostIoApics> io_apics_{};
  std::size_t io_apic_count_ = 0;
  std::array<InterruptOverride, kMostOverrides> overrides_{};
  std::size_t override_count_ = 0;
};

// The port of the ACPI power-management timer (3.579545 MHz, 24 bits), out of the table 'FACP'; 0: there is none.
// Section 5.2.9, fields PM_TMR_BLK and PM_TMR_LEN.
std::uint16_t pm_timer_port(const FirmwareView& memory, const AcpiTable& table);

}  // namespace boot
