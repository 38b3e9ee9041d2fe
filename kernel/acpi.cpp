// SPDX-License-Identifier: MIT
#include "kernel/acpi.hpp"

#include "kernel/boot.hpp"
#include "mm/base/config.hpp"
#include "mm/virtual/kernel_space.hpp"

namespace kernel {

namespace {

constinit boot::AcpiTables tables{};
constinit boot::BootReport report{};
constinit memory::PhysAddr root{};

}  // namespace

void find_acpi_tables(const memory::BootInfo& info, memory::PhysAddr direct_map_end) {
  root = info.rsdp;
  if (root.value == 0) return;
  constexpr memory::PhysAddr kLimit{memory::operator""_GiB(memory::config::max_memory_gib)};
  const boot::PhysView view(reinterpret_cast<const std::byte*>(memory::kernel_space::kDirectMap.value),
                            kLimit);
  tables.find(boot::FirmwareView(view, info, direct_map_end), root, report);
  print_notes(report);
}

const boot::AcpiTables& acpi_tables() { return tables; }
memory::PhysAddr acpi_root() { return root; }

}  // namespace kernel
