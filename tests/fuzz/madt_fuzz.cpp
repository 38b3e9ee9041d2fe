// libFuzzer target: tables of CPUs and interrupt controllers whose every byte may be anything.
// SPDX-License-Identifier: MIT
#include "boot/madt.hpp"

#include "tests/fuzz/boot_forge.hpp"

namespace {

using boot::AcpiTable;
using boot::Madt;
using forge::Bytes;
using forge::info;
using forge::Memory;
using forge::MemoryKind;
using forge::PhysAddr;

constexpr std::uint64_t kBytes = 0x10000;
constexpr std::uint64_t kTable = 0x4000;

void check(const Madt& madt) {
  MUST(madt.cpus().size() <= Madt::kMostCpus);
  MUST(madt.cpus_left() == 0 || madt.cpus().size() == Madt::kMostCpus);
  for (std::size_t i = 0; i < madt.cpus().size(); ++i) {
    MUST(madt.cpus()[i] <= Madt::kMostApicId);
    for (std::size_t j = 0; j < i; ++j) MUST(madt.cpus()[i] != madt.cpus()[j]);
  }
  MUST(madt.io_apics().size() <= Madt::kMostIoApics && madt.overrides().size() <= Madt::kMostOverrides);
  for (unsigned line = 0; line < 256; ++line) MUST(madt.route(static_cast<std::uint8_t>(line)).line == line);
  forge::check_report(true);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  Memory memory(kBytes);
  forge::map.clear();
  info = forge::BootInfo{};
  forge::map.add(PhysAddr{0}, kTable, MemoryKind::available);
  forge::map.add(PhysAddr{kTable}, kBytes - kTable, MemoryKind::reserved);
  forge::map.finish(info, PhysAddr{std::uint64_t{64} << 30});
  memory.u32(kTable + 36, bytes.u32());
  memory.put(kTable + 40, bytes.all());

  // Nothing behind the table may be read: it ends where the memory does, or where it says.
  const auto length =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(36 + size % 64 + size, kBytes - kTable));
  forge::report = boot::BootReport{};
  const boot::PhysView view = memory.view();
  const boot::FirmwareView firmware(view, info, PhysAddr{~std::uint64_t{0}});
  const AcpiTable table{.name = {'A', 'P', 'I', 'C'}, .address = PhysAddr{kTable}, .bytes = length};
  Madt madt;
  const auto read = madt.read(firmware, table, forge::report);
  check(madt);
  MUST(read.ok() || (madt.cpus().empty() && madt.io_apics().empty() && forge::report.notes() > 0));
  static_cast<void>(boot::pm_timer_port(firmware, table));
  return 0;
}
