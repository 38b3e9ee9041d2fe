// Pages that are writable and executable, in trees of tables made by hand.
// SPDX-License-Identifier: MIT
#include "mm/virtual/protection.hpp"

#include "tests/unit/world.hpp"

using namespace memory;

namespace {

constexpr std::uint64_t kRoot = 0x1000;
constexpr std::uint64_t kPointers = 0x2000;
constexpr std::uint64_t kDirectory = 0x3000;
constexpr std::uint64_t kTable = 0x4000;
constexpr std::uint64_t kP = PageEntry::kPresent;
constexpr std::uint64_t kW = PageEntry::kWrite;
constexpr std::uint64_t kNx = PageEntry::kNoExecute;

// Four tables, one a level, at the physical addresses above. Entry 511 of the root, 510 of the next and so on.
struct Tables {
  std::byte* bytes = nullptr;

  Tables() {
    const auto room = unit::storage(0x5000);
    if (room.empty()) return;
    bytes = room.data();
    __builtin_memset(bytes, 0, room.size());
    set(kRoot, 511, kPointers | kP | kW);
    set(kPointers, 510, kDirectory | kP | kW);
    set(kDirectory, 1, kTable | kP | kW);
  }
  void set(std::uint64_t table, unsigned index, std::uint64_t entry) {
    __builtin_memcpy(bytes + table + 8 * index, &entry, sizeof entry);
  }
  std::optional<VirtAddr> find() const { return writable_and_executable(PhysAddr{kRoot}, bytes); }
};

// What the entries above map: the image's window, its second pageblock.
constexpr std::uint64_t kBase = 0xffff'ffff'8020'0000;

}  // namespace

TEST(protection, allows_either_right_alone) {
  Tables tables;
  ASSERT(tables.bytes != nullptr);
  EXPECT(!tables.find());
  tables.set(kTable, 0, 0x9000 | kP);             // read and execute
  tables.set(kTable, 1, 0x9000 | kP | kW | kNx);  // read and write
  tables.set(kTable, 2, 0x9000 | kP | kNx);
  tables.set(kTable, 511, 0x9000 | kP);
  EXPECT(!tables.find());
}

TEST(protection, finds_the_first_page_that_has_both) {
  Tables tables;
  ASSERT(tables.bytes != nullptr);
  tables.set(kTable, 511, 0x9000 | kP | kW);
  EXPECT_EQ(tables.find().value_or(VirtAddr{}).value, kBase + 511 * kPageSize);
  tables.set(kTable, 3, 0x9000 | kP | kW);
  EXPECT_EQ(tables.find().value_or(VirtAddr{}).value, kBase + 3 * kPageSize);
}

TEST(protection, finds_large_pages) {
  Tables tables;
  ASSERT(tables.bytes != nullptr);
  tables.set(kDirectory, 7, 0xe0'0000 | kP | kW | PageEntry::kLarge);
  EXPECT_EQ(tables.find().value_or(VirtAddr{}).value, 0xffff'ffff'8000'0000 + 7 * 2_MiB);
  tables.set(kPointers, 2, kP | kW | PageEntry::kLarge);
  EXPECT_EQ(tables.find().value_or(VirtAddr{}).value, 0xffff'ff80'0000'0000 + 2 * 1_GiB);
}

TEST(protection, a_table_refuses_for_all_below_it) {
  for (const std::uint64_t table : {kRoot, kPointers, kDirectory}) {
    Tables tables;
    ASSERT(tables.bytes != nullptr);
    tables.set(kTable, 3, 0x9000 | kP | kW);
    const unsigned index = table == kRoot ? 511 : table == kPointers ? 510 : 1;
    tables.set(table, index, (table + 0x1000) | kP);  // not writable
    EXPECT(!tables.find());
    tables.set(table, index, (table + 0x1000) | kP | kW | kNx);
    EXPECT(!tables.find());
    tables.set(table, index, (table + 0x1000) | kP | kW);
    EXPECT(tables.find().has_value());
  }
}

TEST(protection, absent_entries_are_not_followed) {
  Tables tables;
  ASSERT(tables.bytes != nullptr);
  tables.set(kTable, 3, 0x9000 | kW);
  tables.set(kRoot, 5, 0x7fff'ffff'f000 | kW);
  EXPECT(!tables.find());
}

TEST(protection, the_check_panics_with_the_address) {
  Tables tables;
  ASSERT(tables.bytes != nullptr);
  verify_protection(PhysAddr{kRoot}, tables.bytes);
  tables.set(kRoot, 1, kPointers | kP | kW);  // the same below an address of the lower half
  tables.set(kTable, 3, 0x9000 | kP | kW);
  EXPECT_PANIC(verify_protection(PhysAddr{kRoot}, tables.bytes),
               "0x000000ff80203000 is writable and executable");
}
