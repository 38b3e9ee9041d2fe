// SPDX-License-Identifier: MIT
#include "kernel/acpi.hpp"

#include <memory>

#include "kernel/boot.hpp"
#include "mm/base/config.hpp"
#include "mm/virtual/kernel_space.hpp"

namespace kernel {

namespace {

constinit boot::AcpiTables tables{};
constinit boot::BootReport report{};
constinit memory::PhysAddr root{};
constinit const memory::BootInfo* boot_info = nullptr;
constinit memory::PhysAddr usable_end{};

constexpr memory::PhysAddr kLimit{memory::operator""_GiB(memory::config::max_memory_gib)};

// Runs body(const FirmwareView&) on what the kernel's own map shows, and says what was odd.
template <typename Body>
auto read_firmware(Body&& body) {
  std::construct_at(&report);  // in place: a temporary would not fit on a kernel stack
  const boot::PhysView view(reinterpret_cast<const std::byte*>(memory::kernel_space::kDirectMap.value),
                            kLimit);
  const auto answer = body(boot::FirmwareView(view, *boot_info, usable_end));
  print_notes(report);
  return answer;
}

}  // namespace

void find_acpi_tables(const memory::BootInfo& info, memory::PhysAddr direct_map_end) {
  boot_info = &info;
  usable_end = direct_map_end;
  root = info.rsdp;
  if (root.value == 0) return;
  read_firmware([](const boot::FirmwareView& view) {
    tables.find(view, root, report);
    return true;
  });
}

bool read_madt(const boot::AcpiTable& table, boot::Madt& to) {
  return read_firmware([&](const boot::FirmwareView& view) { return to.read(view, table, report).ok(); });
}

std::uint16_t read_pm_timer_port() {
  const boot::AcpiTable* table = tables.table("FACP");
  if (table == nullptr) return 0;
  return read_firmware([&](const boot::FirmwareView& view) { return boot::pm_timer_port(view, *table); });
}

const boot::AcpiTables& acpi_tables() { return tables; }
memory::PhysAddr acpi_root() { return root; }

}  // namespace kernel
