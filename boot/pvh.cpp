// The PVH start information, none of whose addresses and counts is believed.
// SPDX-License-Identifier: MIT
//
// Theory. One fixed structure points to the memory map, the command line and a list of modules, each anywhere
// in memory. The map is read first; everything else is compared with it.
// Xen public/arch-x86/hvm/start_info.h.
#include "boot/pvh.hpp"

#include <cstddef>

namespace boot {

namespace {

// struct hvm_start_info, version 0.
struct StartInfo {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint32_t flags;
  std::uint32_t modules;
  std::uint64_t module_list;
  std::uint64_t command_line;
  std::uint64_t rsdp;
};

// What version 1 adds behind it.
struct StartInfoMap {
  std::uint64_t map;
  std::uint32_t entries;
  std::uint32_t reserved;
};

// struct hvm_memmap_table_entry
struct MapEntry {
  std::uint64_t base;
  std::uint64_t length;
  std::uint32_t type;
  std::uint32_t reserved;
};

// struct hvm_modlist_entry
struct ModuleEntry {
  std::uint64_t first;
  std::uint64_t bytes;
  std::uint64_t name;
  std::uint64_t reserved;
};
static_assert(sizeof(StartInfo) == 40 && sizeof(StartInfoMap) == 16 && sizeof(MapEntry) == 24 &&
              sizeof(ModuleEntry) == 32);
constexpr std::uint64_t kStartBytes = sizeof(StartInfo) + sizeof(StartInfoMap);

// XEN_HVM_MEMMAP_TYPE_*; persistent memory (7) and disabled memory (6) are not for us.
MemoryKind kind_of(std::uint32_t type) {
  switch (type) {
    case 1: return MemoryKind::available;
    case 3: return MemoryKind::acpi_reclaimable;
    case 4: return MemoryKind::acpi_nvs;
    case 5: return MemoryKind::bad;
    default: return MemoryKind::reserved;
  }
}

PhysRange span_of(std::uint64_t address, std::uint64_t bytes) {
  return {PhysAddr{address}, PhysAddr{address} + bytes};
}

Result<void> read_map(Builder& builder, const StartInfoMap& table) {
  const PhysView& view = builder.view();
  BootReport& report = builder.report();
  if (table.entries == 0 || table.map == 0) return report.fatal(Fatal::no_memory_map);
  if (!view.contains(PhysAddr{table.map}, std::uint64_t{table.entries} * sizeof(MapEntry))) {
    return report.fatal(Fatal::map_unreadable, table.map, table.entries, view.end().value);
  }
  for (std::uint64_t i = 0; i < table.entries; ++i) {
    const MapEntry entry = TRY(view.read<MapEntry>(PhysAddr{table.map} + i * sizeof(MapEntry)));
    builder.add_memory(PhysAddr{entry.base}, entry.length, kind_of(entry.type));
  }
  return {};
}

Result<void> read_modules(Builder& builder, const StartInfo& start) {
  if (start.modules == 0) return {};
  const PhysView& view = builder.view();
  const PhysAddr list{start.module_list};
  const std::uint64_t bytes = std::uint64_t{start.modules} * sizeof(ModuleEntry);
  if (list.value == 0 || !view.contains(list, bytes) || !is_memory(builder.info(), {list, list + bytes})) {
    builder.report().note(Remark::module_list_unreadable, start.modules, list.value);
    builder.drop_modules(start.modules);
    return {};
  }
  TRY(builder.keep({list, list + bytes}));
  for (std::uint64_t i = 0; i < start.modules; ++i) {
    const ModuleEntry entry = TRY(view.read<ModuleEntry>(list + i * sizeof(ModuleEntry)));
    const std::string_view name = builder.module_name_at(i, PhysAddr{entry.name});
    TRY(builder.add_module(i, PhysAddr{entry.first}, entry.bytes, name));
  }
  return {};
}

}  // namespace

Result<void> parse_pvh(Builder& builder, PhysAddr information) {
  builder.info().protocol = memory::BootProtocol::pvh;
  const PhysView& view = builder.view();
  BootReport& report = builder.report();
  const Result<StartInfo> read = view.read<StartInfo>(information);
  if (!read.ok()) return report.fatal(Fatal::information_unreadable, information.value, view.end().value);
  const StartInfo start = read.take();
  if (start.magic != kPvhMagic) return report.fatal(Fatal::bad_magic, information.value, start.magic);
  if (start.version == 0) return report.fatal(Fatal::no_map_in_version, information.value, start.version);
  const Result<StartInfoMap> table = view.read<StartInfoMap>(information + sizeof(StartInfo));
  if (!table.ok()) return report.fatal(Fatal::information_unreadable, information.value, view.end().value);

  TRY(read_map(builder, table.take()));
  TRY(builder.finish_memory());
  TRY(builder.keep({information, information + kStartBytes}));
  TRY(builder.keep(span_of(table.take().map, std::uint64_t{table.take().entries} * sizeof(MapEntry))));
  TRY(builder.set_command_line_at(PhysAddr{start.command_line}));
  TRY(read_modules(builder, start));
  builder.set_rsdp(PhysAddr{start.rsdp});
  builder.finish();
  return {};
}

}  // namespace boot
