// ACPI tables from root pointers and lists made by hand: what is found, and every way to be wrong.
// SPDX-License-Identifier: MIT
#include "boot/acpi.hpp"

#include <initializer_list>

#include "tests/unit/boot_world.hpp"

using boot::AcpiTables;
using boot::Remark;
using namespace unit::boot_world;

namespace {

// 0x0000 usable (0x1000-0x2000 the loader's) | 0x4000 reserved | 0x8000 NVS | 0x9000 hole | 0xa000 reserved, alone |
// 0xb000 hole | 0xc000 reclaimable | 0x10000 usable
constexpr std::uint64_t kRoot = 0x1010;
constexpr std::uint64_t kList = 0x4000;
constexpr std::uint64_t kTables = 0x5000;
constexpr std::uint64_t kNvs = 0x8000;
constexpr std::uint64_t kDevice = 0xa000;
constexpr std::uint64_t kReclaimable = 0xc000;

AcpiTables found;

void begin_acpi() {
  begin();
  const auto add = [](std::uint64_t first, std::uint64_t end, MemoryKind kind) {
    world.info.memory[world.info.memory_ranges++] = {{PhysAddr{first}, PhysAddr{end}}, kind};
  };
  add(0, 0x4000, MemoryKind::available);
  add(0x4000, 0x8000, MemoryKind::reserved);
  add(0x8000, 0x9000, MemoryKind::acpi_nvs);
  add(0xa000, 0xb000, MemoryKind::reserved);
  add(0xc000, 0x10000, MemoryKind::acpi_reclaimable);
  world.info.reserved[0] = {PhysAddr{0x1000}, PhysAddr{0x2000}};
  world.info.reserved_ranges = 1;
}

// Makes the bytes [at, at + count) sum to zero by the one at `at + place`.
void fix(std::uint64_t at, std::uint64_t count, std::uint64_t place) {
  unsigned sum = 0;
  world.bytes[at + place] = std::byte{0};
  for (std::uint64_t i = 0; i < count; ++i) sum += std::to_integer<unsigned>(world.bytes[at + i]);
  world.bytes[at + place] = static_cast<std::byte>(0u - sum);
}

void spoil(std::uint64_t at) { world.bytes[at] ^= std::byte{1}; }

struct Root {
  std::uint8_t revision = 2;
  std::uint64_t xsdt = kList;
  std::uint64_t rsdt = 0;
  std::uint64_t length = 36;
};

void put_root(const Root& root, std::uint64_t at = kRoot) {
  Pen(at)
      .text("RSD PTR ")
      .zero()
      .text("makers")
      .zero()
      .u32(root.rsdt)
      .u32(root.length)
      .u64(root.xsdt)
      .zero(4);
  world.bytes[at + 15] = std::byte{root.revision};
  fix(at, 20, 8);
  if (at + root.length <= kBytes && root.length >= 36) fix(at, root.length, 32);
}

void put_table(std::uint64_t at, std::string_view signature, std::uint64_t bytes = 36) {
  Pen(at).text(signature).u32(bytes);
  if (bytes >= 36 && at + bytes <= kBytes) fix(at, bytes, 9);
}

void put_list(std::string_view signature, unsigned entry_bytes, std::initializer_list<std::uint64_t> entries,
              std::uint64_t at = kList) {
  Pen pen(at + 36);
  for (const std::uint64_t entry : entries) {
    if (entry_bytes == 8)
      pen.u64(entry);
    else
      pen.u32(entry);
  }
  put_table(at, signature, 36 + entries.size() * entry_bytes);
}

// A machine as it should be: two tables by an XSDT.
void put_all() {
  begin_acpi();
  put_root({});
  put_table(kTables, "APIC", 120);
  put_table(kReclaimable + 0x10, "SRAT", 48);
  put_list("XSDT", 8, {kTables, kReclaimable + 0x10});
}

// How many tables there are.
std::size_t run(std::uint64_t root = kRoot, std::uint64_t usable_end = ~std::uint64_t{0}) {
  const boot::PhysView all = view();
  std::construct_at(&world.report);
  found.find(boot::FirmwareView(all, world.info, PhysAddr{usable_end}), PhysAddr{root}, world.report);
  return found.all().size();
}

bool notes(std::initializer_list<Remark> remarks) {
  std::size_t i = 0;
  for (const Remark remark : remarks) {
    if (i == world.report.notes() || world.report[i++].remark != remark) return false;
  }
  return i == world.report.notes();
}

}  // namespace

TEST(acpi, finds_what_an_xsdt_names) {
  put_all();
  ASSERT(run() == 2);
  EXPECT(notes({}));
  EXPECT_EQ(found.all()[0].signature(), std::string_view("APIC"));
  EXPECT_EQ(found.all()[0].address.value, kTables);
  EXPECT_EQ(found.all()[0].bytes, 120u);
  EXPECT_EQ(found.all()[1].signature(), std::string_view("SRAT"));
  EXPECT_EQ(found.all()[1].address.value, kReclaimable + 0x10);
  EXPECT(found.table("SRAT") == &found.all()[1]);
  EXPECT(found.table("HPET") == nullptr);
  EXPECT_EQ(found.dropped(), 0u);
  EXPECT_EQ(run(), 2u);  // anew, not added to
}

TEST(acpi, finds_what_an_rsdt_names) {
  begin_acpi();
  put_root({.revision = 0, .xsdt = 0x7777, .rsdt = kList});  // the first revision has no XSDT
  put_table(kTables, "APIC");
  put_list("RSDT", 4, {kTables});
  EXPECT_EQ(run(), 1u);
  EXPECT(notes({}));
  put_root({.xsdt = 0, .rsdt = kList});
  EXPECT_EQ(run(), 1u);
  EXPECT(notes({}));
}

TEST(acpi, prefers_the_xsdt_and_falls_back) {
  put_all();
  put_root({.rsdt = kNvs});
  put_list("RSDT", 4, {kTables}, kNvs);
  EXPECT_EQ(run(), 2u);
  spoil(kList + 20);
  EXPECT_EQ(run(), 1u);
  EXPECT(notes({Remark::acpi_checksum}));
  EXPECT(some_note_says("the ACPI table 'XSDT' at 0x4000 has a wrong checksum; skipped"));
  spoil(kNvs + 20);
  EXPECT_EQ(run(), 0u);
  EXPECT(notes({Remark::acpi_checksum, Remark::acpi_checksum, Remark::acpi_no_list}));
}

TEST(acpi, takes_a_root_pointer_of_the_loaders_or_the_firmwares) {
  put_all();
  put_root({}, kNvs);
  EXPECT_EQ(run(kNvs), 2u);
  put_root({}, 0x2010);  // in memory that will be handed out
  EXPECT_EQ(run(0x2010), 0u);
  EXPECT(notes({Remark::acpi_rsdp_unreadable}));
  put_root({}, 0x2000 - 24);  // its second half
  EXPECT_EQ(run(0x2000 - 24), 0u);
  EXPECT(notes({Remark::acpi_rsdp_unreadable}));
  put_root({}, kDevice);
  EXPECT_EQ(run(kDevice), 0u);
  EXPECT_EQ(run(kBytes - 8), 0u);
  EXPECT_EQ(run(~std::uint64_t{0}), 0u);
  EXPECT(notes({Remark::acpi_rsdp_unreadable}));
  EXPECT_EQ(run(kRoot, kRoot + 36), 2u);
  EXPECT_EQ(run(kRoot, kRoot + 35), 0u);  // beyond the direct map
  EXPECT(notes({Remark::acpi_rsdp_unreadable}));
}

TEST(acpi, a_bad_root_pointer_is_the_end) {
  for (unsigned byte = 0; byte < 36; ++byte) {
    put_all();
    spoil(kRoot + byte);
    EXPECT_EQ(run(), 0u);
    EXPECT_EQ(world.report.notes(), 1u);
    EXPECT(world.report.has(byte < 8                   ? Remark::rsdp_malformed
                            : byte == 22 || byte == 23 ? Remark::acpi_rsdp_length
                                                       : Remark::acpi_rsdp_checksum));
  }
  struct Length {
    std::uint64_t bytes;
    Remark why;
  };
  for (const Length& length :
       {Length{0, Remark::acpi_rsdp_length}, Length{35, Remark::acpi_rsdp_length},
        Length{4097, Remark::acpi_rsdp_length}, Length{0xffffffff, Remark::acpi_rsdp_length},
        Length{0xff1, Remark::acpi_rsdp_unreadable}}) {
    put_all();
    put_root({.length = length.bytes});
    EXPECT_EQ(run(), 0u);
    EXPECT(notes({length.why}));
  }
  put_all();
  put_root({.length = 0xff0});  // to the end of what the loader gave
  EXPECT_EQ(run(), 2u);
}

TEST(acpi, without_a_list_there_is_no_table) {
  put_all();
  put_root({.xsdt = 0});
  EXPECT_EQ(run(), 0u);
  EXPECT(notes({Remark::acpi_no_list}));
  put_all();
  put_table(kList, "XSDX");
  EXPECT_EQ(run(), 0u);
  EXPECT(notes({Remark::acpi_not_a_list, Remark::acpi_no_list}));
  EXPECT(some_note_says("the list of ACPI tables at 0x4000 has the signature 'XSDX'; skipped"));
  put_all();
  put_table(kList, "XSDT");  // an empty one
  EXPECT_EQ(run(), 0u);
  EXPECT(notes({}));
}

TEST(acpi, a_bad_table_is_skipped_and_the_others_stay) {
  struct Bad {
    std::uint64_t at;
    Remark why;
  };
  const Bad cases[] = {
      {0, Remark::acpi_unreadable},
      {0x2000, Remark::acpi_unreadable},  // usable memory
      {0x1800, Remark::acpi_unreadable},  // the loader's
      {kDevice, Remark::acpi_unreadable},
      {0x9000, Remark::acpi_unreadable},       // nothing
      {0x9000 - 35, Remark::acpi_unreadable},  // its last byte
      {kBytes - 35, Remark::acpi_unreadable},
      {0x7000'0000'0000, Remark::acpi_unreadable},
      {~std::uint64_t{0} - 3, Remark::acpi_unreadable},
      {0x6000, Remark::acpi_signature},
      {0x6100, Remark::acpi_length},
      {0x6200, Remark::acpi_length},
      {0x6300, Remark::acpi_length},
      {0x6400, Remark::acpi_checksum},
  };
  for (const Bad& bad : cases) {
    put_all();
    put_table(0x6000,
              "AP\x1b"
              "C");
    put_table(0x6100, "FACP", 35);
    put_table(0x6200, "FACP", 0xffffffff);
    put_table(0x6300, "FACP", 0x9001 - 0x6300);  // one byte into the hole
    put_table(0x6400, "FACP", 244);
    spoil(0x6400 + 243);
    put_table(0x9000 - 35, "FACP");
    put_table(0x2000, "FACP");
    put_table(0x1000 + 0x800, "FACP");
    put_list("XSDT", 8, {kTables, bad.at, kReclaimable + 0x10});
    EXPECT_EQ(run(), 2u);
    EXPECT(notes({bad.why}));
  }
  EXPECT(some_note_says("the ACPI table 'FACP' at 0x6400 has a wrong checksum; skipped"));
}

TEST(acpi, a_table_may_reach_over_ranges_that_touch) {
  put_all();
  put_table(kNvs - 20, "SSDT", 0x9000 - kNvs + 20);  // to the last byte before the hole
  put_list("XSDT", 8, {kNvs - 20});
  EXPECT_EQ(run(), 1u);
  EXPECT(notes({}));
}

TEST(acpi, a_list_may_have_a_tail) {
  put_all();
  put_list("XSDT", 4, {kTables, 0, 0});
  EXPECT_EQ(run(), 1u);
  EXPECT(notes({Remark::acpi_list_tail}));
  EXPECT(some_note_says("the list of ACPI tables at 0x4000: 4 bytes after its last whole entry ignored"));
}

TEST(acpi, too_many_tables_are_counted) {
  put_all();
  const auto list_of = [](std::size_t entries) {
    Pen pen(kList + 36);
    for (std::size_t i = 0; i < entries; ++i) pen.u64(kReclaimable + 0x10);
    put_table(kList, "XSDT", 36 + 8 * entries);
  };
  list_of(AcpiTables::kMost);
  EXPECT_EQ(run(), AcpiTables::kMost);
  EXPECT(notes({}));
  list_of(AcpiTables::kMost + 3);
  EXPECT_EQ(run(), AcpiTables::kMost);
  EXPECT_EQ(found.dropped(), 3u);
  EXPECT(notes({Remark::acpi_tables_dropped}));
  list_of(AcpiTables::kMostEntries + 1);
  EXPECT_EQ(run(), AcpiTables::kMost);
  EXPECT_EQ(found.dropped(), AcpiTables::kMostEntries - AcpiTables::kMost);
  EXPECT(notes({Remark::acpi_list_cut, Remark::acpi_tables_dropped}));
}
