// libFuzzer target: ACPI root pointers, lists and tables whose every field may be anything.
// SPDX-License-Identifier: MIT
#include "boot/acpi.hpp"

#include "tests/fuzz/boot_forge.hpp"

namespace {

using boot::AcpiTable;
using boot::AcpiTables;
using forge::Bytes;
using forge::info;
using forge::Memory;
using forge::MemoryKind;
using forge::PhysAddr;
using forge::PhysRange;

constexpr std::uint64_t kBytes = 0x10000;
constexpr std::uint64_t kRoot = 0x1000;  // the loader's
constexpr std::uint64_t kLists = 0x4000;
constexpr std::uint64_t kTables = 0x8000;

AcpiTables tables;

// `usual` fifteen times in sixteen, else any address.
std::uint64_t mostly(Bytes& bytes, std::uint64_t usual) {
  return bytes.u8() % 16 == 15 ? bytes.address() : usual;
}

void fix(Bytes& bytes, Memory& memory, std::uint64_t at, std::uint64_t count, std::uint64_t place) {
  if (bytes.u8() % 16 == 15 || !memory.view().contains(PhysAddr{at}, count)) return;
  memory.put(at + place, "", 1);
  const auto sum = static_cast<std::uint8_t>(0u - memory.view().sum(PhysAddr{at}, count));
  memory.put(at + place, &sum, 1);
}

void put_header(Bytes& bytes, Memory& memory, std::uint64_t at, std::string_view signature,
                std::uint64_t size) {
  if (bytes.u8() % 32 != 31) memory.put(at, signature.data(), signature.size());
  memory.u32(at + 4, static_cast<std::uint32_t>(mostly(bytes, size)));
  fix(bytes, memory, at, size, 9);
}

std::uint64_t put_list(Bytes& bytes, Memory& memory, std::uint64_t at, bool wide) {
  const std::uint64_t entries = bytes.u8() % 4 == 0 ? bytes.u8() * 2u : bytes.u8() % 8;
  const std::uint64_t size = wide ? 8 : 4;
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::uint64_t table = mostly(bytes, kTables + bytes.u8() % 16 * 0x100);
    memory.put(at + 36 + i * size, &table, size);
  }
  put_header(bytes, memory, at, wide ? "XSDT" : "RSDT", 36 + entries * size + bytes.u8() % 16 / 15);
  return at;
}

void put_root(Bytes& bytes, Memory& memory, std::uint64_t at, std::uint64_t xsdt, std::uint64_t rsdt) {
  if (bytes.u8() % 32 != 31) memory.put(at, "RSD PTR ", 8);
  const std::uint8_t revision = bytes.u8() % 3;
  memory.put(at + 15, &revision, 1);
  memory.u32(at + 16, static_cast<std::uint32_t>(mostly(bytes, rsdt)));
  const std::uint64_t length = bytes.u8() % 8 == 7 ? bytes.u32() % 0x1100 : 36;
  memory.u32(at + 20, static_cast<std::uint32_t>(length));
  memory.u64(at + 24, mostly(bytes, xsdt));
  fix(bytes, memory, at, 20, 8);
  fix(bytes, memory, at, length, 32);
}

void forge_map(Bytes& bytes) {
  forge::map.clear();
  info = forge::BootInfo{};
  forge::map.add(PhysAddr{0}, kLists, MemoryKind::available);
  forge::map.add(PhysAddr{kLists}, kTables - kLists, MemoryKind::reserved);
  forge::map.add(PhysAddr{kTables}, kBytes - kTables, MemoryKind::acpi_reclaimable);
  for (unsigned ranges = bytes.u8() % 4; ranges > 0; --ranges) {
    const auto kind = static_cast<MemoryKind>(bytes.u8() % 5);
    forge::map.add(PhysAddr{bytes.address() % (2 * kBytes)}, bytes.u8() * 64u, kind);
  }
  forge::map.finish(info, PhysAddr{std::uint64_t{64} << 30});
  MUST(boot::reserve(info, {PhysAddr{kRoot}, PhysAddr{kRoot + 0x1000}}).ok());
}

// Written apart from FirmwareView: byte by byte.
bool firmwares(PhysAddr at) {
  for (std::size_t i = 0; i < info.memory_ranges; ++i) {
    if (info.memory[i].range.contains(at)) return info.is_firmware(i);
  }
  return false;
}

void check(const Memory& memory) {
  MUST(tables.all().size() <= AcpiTables::kMost && tables.dropped() <= AcpiTables::kMostEntries);
  MUST(tables.dropped() == 0 || tables.all().size() == AcpiTables::kMost);
  for (const AcpiTable& table : tables.all()) {
    MUST(table.bytes >= 36 && table.bytes <= AcpiTables::kMostBytes);
    MUST(memory.view().contains(table.address, table.bytes));
    for (const char character : table.signature()) MUST(character >= ' ' && character <= '~');
    for (std::uint64_t i = 0; i < table.bytes; ++i) MUST(firmwares(table.address + i));
    MUST(memory.view().sum(table.address, table.bytes) == 0);
    MUST(tables.table(table.signature()) != nullptr);
  }
  forge::check_report(true);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  Memory memory(bytes.u8() % 8 == 0 ? kTables + bytes.u8() * 128u : kBytes);
  forge_map(bytes);
  const std::uint64_t root = bytes.u8() % 8 == 7 ? kLists + bytes.u8() : kRoot + bytes.u8() * 16u;
  for (std::uint64_t at = kTables; at < kTables + 0x1000; at += 0x100) {
    put_header(bytes, memory, at, "SSDT", 36 + bytes.u8() % 200);
  }
  const std::uint64_t xsdt = put_list(bytes, memory, kLists + 0x100, true);
  const std::uint64_t rsdt = put_list(bytes, memory, kLists + 0x2000, false);
  put_root(bytes, memory, root, xsdt, rsdt);
  memory.put(bytes.address() % kBytes, bytes.all());  // and over all of it, whatever is left

  forge::report = boot::BootReport{};
  const boot::PhysView view = memory.view();
  const PhysAddr usable_end{mostly(bytes, ~std::uint64_t{0})};
  tables.find(boot::FirmwareView(view, info, usable_end), PhysAddr{mostly(bytes, root)}, forge::report);
  check(memory);
  tables.find(boot::FirmwareView(view, info, usable_end), PhysAddr{bytes.address()}, forge::report);
  check(memory);
  return 0;
}
