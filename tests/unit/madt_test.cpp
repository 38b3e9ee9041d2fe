// Tables of CPUs and interrupt controllers made by hand: what is read, and every way to be wrong.
// SPDX-License-Identifier: MIT
#include "boot/madt.hpp"

#include <initializer_list>

#include "tests/unit/boot_world.hpp"

using boot::AcpiTable;
using boot::Madt;
using boot::Remark;
using namespace unit::boot_world;

namespace {

constexpr std::uint64_t kTable = 0x4000;
constexpr std::uint32_t kEnabled = 1;
constexpr std::uint32_t kOnlineCapable = 2;

// Writes the table from its head on; size() is what it has so far.
class Table {
 public:
  explicit Table(std::uint64_t local_apic = 0xfee00000, std::uint32_t flags = 1) : pen_(kTable) {
    begin();
    world.info.memory[0] = {{PhysAddr{0}, PhysAddr{0x4000}}, MemoryKind::available};
    world.info.memory[1] = {{PhysAddr{kTable}, PhysAddr{kBytes}}, MemoryKind::reserved};
    world.info.memory_ranges = 2;
    pen_.text("APIC").zero(32).u32(local_apic).u32(flags);
  }

  Table& cpu(std::uint8_t apic, std::uint32_t flags = kEnabled) {
    return entry(0, 8, 7u | std::uint32_t{apic} << 8, 2).u32(flags);
  }
  Table& x2apic(std::uint32_t apic, std::uint32_t flags = kEnabled) {
    return entry(9, 16, 0, 2).u32(apic).u32(flags).u32(7);
  }
  Table& io_apic(std::uint32_t address, std::uint32_t first) {
    return entry(1, 12, 3, 2).u32(address).u32(first);
  }
  Table& override_of(std::uint8_t line, std::uint32_t interrupt, std::uint16_t flags, std::uint8_t bus = 0) {
    return entry(2, 10, bus | std::uint32_t{line} << 8, 2).u32(interrupt).bytes(flags, 2);
  }
  // The first two bytes, then `more` of them out of `value`.
  Table& entry(std::uint8_t type, std::uint8_t length, std::uint32_t value = 0, unsigned more = 0) {
    return bytes(type | std::uint32_t{length} << 8, 2).bytes(value, more);
  }
  Table& u32(std::uint32_t value) {
    pen_.u32(value);
    return *this;
  }
  Table& bytes(std::uint32_t value, unsigned count) {
    for (; count > 0; --count, value >>= 8) {
      const char byte = static_cast<char>(value & 0xff);
      pen_.text({&byte, 1});
    }
    return *this;
  }
  std::uint64_t size() const { return pen_.at() - kTable; }

 private:
  Pen pen_;
};

Madt found;

memory::Result<void> read(std::uint64_t bytes) {
  const boot::PhysView all = view();
  const boot::FirmwareView firmware(all, world.info, PhysAddr{~std::uint64_t{0}});
  const AcpiTable table{
      .name = {'A', 'P', 'I', 'C'}, .address = PhysAddr{kTable}, .bytes = static_cast<std::uint32_t>(bytes)};
  return found.read(firmware, table, world.report);
}
memory::Result<void> read(const Table& table) { return read(table.size()); }

bool refused(const Table& table, Remark why) {
  const auto result = read(table);
  return !result.ok() && found.cpus().empty() && result.error() == memory::Error::invalid &&
         world.report.notes() == 1 && world.report.has(why);
}

bool same(std::span<const std::uint8_t> cpus, std::initializer_list<std::uint8_t> wanted) {
  return std::equal(cpus.begin(), cpus.end(), wanted.begin(), wanted.end());
}

}  // namespace

TEST(madt, reads_what_qemu_gives) {
  Table table;
  table.cpu(0).cpu(1).io_apic(0xfec00000, 0).override_of(0, 2, 0).override_of(9, 9, 13);
  table.entry(4, 6, 0xff, 4);  // local NMI
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT_EQ(found.local_apic().value, 0xfee00000u);
  EXPECT(found.has_old_controllers());
  EXPECT(same(found.cpus(), {0, 1}));
  EXPECT_EQ(found.cpus_left() + found.cpus_disabled() + found.cpus_unreachable(), 0u);
  ASSERT(found.io_apics().size() == 1);
  EXPECT_EQ(found.io_apics()[0].address, 0xfec00000u);
  EXPECT_EQ(found.io_apics()[0].first_interrupt, 0u);
  EXPECT_EQ(found.route(0).interrupt, 2u);
  EXPECT(!found.route(0).active_low() && !found.route(0).level_triggered());
  EXPECT(!found.route(9).active_low() && found.route(9).level_triggered());
  EXPECT_EQ(found.route(4).interrupt, 4u);
  EXPECT_EQ(world.report.notes(), 0u);
}

TEST(madt, an_empty_list_names_nothing) {
  const auto result = read(Table(0xfee01000, 0));
  ASSERT(result.ok());
  EXPECT(found.cpus().empty() && found.io_apics().empty());
  EXPECT(!found.has_old_controllers());
  EXPECT_EQ(found.local_apic().value, 0xfee01000u);
}

TEST(madt, disabled_cpus_are_only_counted) {
  Table table;
  table.cpu(0).cpu(1, 0).cpu(2, kOnlineCapable).cpu(3, kEnabled | kOnlineCapable);
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT(same(found.cpus(), {0, 3}));
  EXPECT_EQ(found.cpus_disabled(), 2u);
  EXPECT_EQ(world.report.notes(), 0u);
}

TEST(madt, long_entries_count_too) {
  Table table;
  table.cpu(0).cpu(255).x2apic(1).x2apic(254).x2apic(255).x2apic(0x1'0001).x2apic(2, 0);
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT(same(found.cpus(), {0, 1, 254}));
  EXPECT_EQ(found.cpus_unreachable(), 2u);
  EXPECT_EQ(found.cpus_disabled(), 1u);
  EXPECT(some_note_says("2 CPUs are left alone: only an x2APIC could reach them"));
}

TEST(madt, a_cpu_counts_once) {
  Table table;
  table.cpu(0).cpu(1).x2apic(1).cpu(0);
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT(same(found.cpus(), {0, 1}));
  EXPECT_EQ(world.report.notes(), 2u);
  EXPECT(some_note_says("names the CPU with APIC number 1 twice"));
}

TEST(madt, more_cpus_than_fit_are_left_alone_and_said_once) {
  Table table;
  for (unsigned apic = 0; apic < Madt::kMostCpus + 4; ++apic) table.cpu(static_cast<std::uint8_t>(apic));
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT_EQ(found.cpus().size(), Madt::kMostCpus);
  EXPECT_EQ(found.cpus_left(), 4u);
  EXPECT_EQ(world.report.notes(), 1u);
  memory::TextBuffer<80> said;
  said.text("4 CPUs are left alone: the kernel has room for ").number(Madt::kMostCpus);
  EXPECT(some_note_says(said.view()));
}

TEST(madt, the_local_apic_may_lie_elsewhere) {
  Table table;
  table.entry(5, 12, 0, 2).u32(0x1234'5000).u32(0x1);
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT_EQ(found.local_apic().value, 0x1'1234'5000u);
}

TEST(madt, only_isa_lines_are_overridden) {
  Table table;
  table.override_of(5, 21, 15, 1).override_of(7, 23, 15);
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT_EQ(found.overrides().size(), 1u);
  EXPECT_EQ(found.route(5).interrupt, 5u);
  EXPECT(found.route(7).active_low() && found.route(7).level_triggered());
}

TEST(madt, tables_that_are_full_are_said) {
  Table table;
  for (unsigned n = 0; n < Madt::kMostIoApics + 2; ++n) table.io_apic(0xfec00000 + n * 0x1000, n * 24);
  for (unsigned n = 0; n < Madt::kMostOverrides + 1; ++n)
    table.override_of(static_cast<std::uint8_t>(n), n, 0);
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT_EQ(found.io_apics().size(), Madt::kMostIoApics);
  EXPECT_EQ(found.overrides().size(), Madt::kMostOverrides);
  EXPECT(some_note_says("3 I/O APICs and overrides did not fit"));
}

TEST(madt, an_entry_of_an_impossible_length_spoils_the_table) {
  for (const std::uint8_t length : {std::uint8_t{0}, std::uint8_t{1}}) {
    Table table;
    table.cpu(0).entry(77, length).cpu(1);
    EXPECT(refused(table, Remark::madt_entry));
  }
  struct Short {
    std::uint8_t type;
    std::uint8_t length;
  };
  for (const Short& bad : {Short{0, 7}, Short{1, 11}, Short{2, 9}, Short{5, 11}, Short{9, 15}}) {
    Table table;
    table.cpu(0).entry(bad.type, bad.length, 0, 16);
    EXPECT(refused(table, Remark::madt_entry));
  }
  EXPECT(some_note_says("its entry of type 9 at offset 52 says that it is 15 bytes long, which cannot be"));
}

TEST(madt, a_truncated_table_is_refused) {
  Table table;
  table.cpu(0).cpu(1).cpu(2);
  const std::uint64_t whole = table.size();
  for (std::uint64_t bytes = 36; bytes < whole; ++bytes) {
    std::construct_at(&world.report);
    const bool between = bytes >= 44 && (bytes - 44) % 8 == 0;
    const auto result = read(bytes);
    EXPECT_EQ(result.ok(), between);
    EXPECT_EQ(world.report.notes(), between ? 0u : 1u);
  }
  EXPECT(read(whole).ok());
}

TEST(madt, entries_that_nobody_knows_are_stepped_over) {
  Table table;
  table.entry(200, 2).entry(201, 255, 0, 0);
  table.bytes(0, 253).cpu(6);
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT(same(found.cpus(), {6}));
}

TEST(madt, too_many_entries_are_not_looked_at) {
  Table table;
  for (std::size_t n = 0; n < Madt::kMostEntries; ++n) table.entry(200, 2);
  table.cpu(1);
  const auto result = read(table);
  ASSERT(result.ok());
  EXPECT(found.cpus().empty());
  EXPECT(world.report.has(Remark::madt_cut));
}

TEST(madt, the_timer_of_power_management) {
  const auto port_of = [](std::uint32_t bytes, std::uint32_t port, std::uint8_t width) {
    Table table;
    Pen(kTable).text("FACP").zero(72).u32(port).zero(11).text({reinterpret_cast<const char*>(&width), 1});
    const boot::PhysView all = view();
    const boot::FirmwareView firmware(all, world.info, PhysAddr{~std::uint64_t{0}});
    return boot::pm_timer_port(firmware,
                               {.name = {'F', 'A', 'C', 'P'}, .address = PhysAddr{kTable}, .bytes = bytes});
  };
  EXPECT_EQ(port_of(116, 0x608, 4), 0x608u);
  EXPECT_EQ(port_of(92, 0x608, 4), 0x608u);
  EXPECT_EQ(port_of(91, 0x608, 4), 0u);
  EXPECT_EQ(port_of(116, 0x608, 0), 0u);
  EXPECT_EQ(port_of(116, 0, 4), 0u);
  EXPECT_EQ(port_of(116, 0x1'0608, 4), 0u);
}
