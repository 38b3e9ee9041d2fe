// AcpiTables: where the firmware's ACPI tables lie, each checked before it is believed.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "boot/firmware_view.hpp"
#include "boot/report.hpp"

namespace boot {

struct AcpiTable {
  std::array<char, 4> name{};  // its signature, printable
  PhysAddr address{};
  std::uint32_t bytes = 0;  // with its header; the whole of it can be read and sums to zero

  constexpr std::string_view signature() const { return {name.data(), name.size()}; }
};

// The tables that the root's list names (DSDT and FACS, which it does not, are the FADT's), in its order.
class AcpiTables {
 public:
  static constexpr std::size_t kMost = 64;
  // Entries of a list that are looked at, and bytes of a table that are believed: a bound for the time that a
  // nonsensical list can take.
  static constexpr std::size_t kMostEntries = 256;
  static constexpr std::uint32_t kMostBytes = 4 << 20;

  // Starts anew with the root pointer at `root`. What is bad is noted and skipped; a bad root leaves no table.
  void find(const FirmwareView& memory, PhysAddr root, BootReport& report);

  std::span<const AcpiTable> all() const { return {tables_.data(), count_}; }
  // The first one of that signature, or null.
  const AcpiTable* table(std::string_view signature) const;
  std::size_t dropped() const { return dropped_; }  // for want of room

 private:
  friend class AcpiParser;

  std::array<AcpiTable, kMost> tables_{};
  std::size_t count_ = 0;
  std::size_t dropped_ = 0;
};

}  // namespace boot
