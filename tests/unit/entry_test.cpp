// Page-table entries bit by bit, against the Intel SDM (volume 3A, section 4.5), not against our own names.
// SPDX-License-Identifier: MIT
#include "mm/virtual/entry.hpp"

#include "tests/unit/unit.hpp"

using namespace memory;

namespace {
constexpr std::uint64_t kNx = std::uint64_t{1} << 63;
constexpr PhysAddr kWhere{0x000f'ffff'c000'0000};  // the highest GiB that 52 bits reach
}  // namespace

TEST(entry, leaves_say_what_the_manual_wants) {
  // present 1, writable 2, accessed 0x20, dirty 0x40, page size 0x80, global 0x100
  EXPECT_EQ(PageEntry::leaf(kWhere, PageLevel::page, Access::read).bits(), kWhere.value | 0x121 | kNx);
  EXPECT_EQ(PageEntry::leaf(kWhere, PageLevel::page, Access::read_write).bits(), kWhere.value | 0x163 | kNx);
  EXPECT_EQ(PageEntry::leaf(kWhere, PageLevel::page, Access::read_execute).bits(), kWhere.value | 0x121);
  EXPECT_EQ(PageEntry::leaf(kWhere, PageLevel::two_mib, Access::read_write).bits(),
            kWhere.value | 0x1e3 | kNx);
  EXPECT_EQ(PageEntry::leaf(kWhere, PageLevel::one_gib, Access::read_execute).bits(), kWhere.value | 0x1a1);
}

TEST(entry, no_access_writes_and_executes) {
  for (const Access access : {Access::read, Access::read_write, Access::read_execute})
    for (const PageLevel level : {PageLevel::page, PageLevel::two_mib, PageLevel::one_gib}) {
      const PageEntry entry = PageEntry::leaf(PhysAddr{0}, level, access);
      EXPECT(!(entry.writable() && entry.executable()));
      EXPECT(entry.present());
      EXPECT_EQ(entry.large(), level != PageLevel::page);
      EXPECT_EQ(entry.writable(), access == Access::read_write);
      EXPECT_EQ(entry.executable(), access == Access::read_execute);
    }
}

TEST(entry, tables_allow_all_and_are_the_kernels) {
  const PageEntry entry = PageEntry::table(PhysAddr{0x1234'5000});
  EXPECT_EQ(entry.bits(), 0x1234'5003u);
  EXPECT_EQ(entry.address(), PhysAddr{0x1234'5000});
  EXPECT(!entry.large());
}

TEST(entry, cleared_is_absent) {
  EXPECT(!PageEntry().present());
  EXPECT_EQ(PageEntry().bits(), 0u);
}

TEST(entry, an_address_keeps_out_of_the_flags) {
  for (const PageLevel level : {PageLevel::page, PageLevel::two_mib, PageLevel::one_gib})
    for (const Access access : {Access::read, Access::read_write, Access::read_execute})
      EXPECT_EQ(PageEntry::leaf(kWhere, level, access).address(), kWhere);
}

TEST(entry, indices_are_nine_bits_a_level) {
  const VirtAddr at{0xffff'8123'4567'8abc};
  EXPECT_EQ(index_at(PageLevel::page, at), (at.value >> 12) & 511);
  EXPECT_EQ(index_at(PageLevel::two_mib, at), (at.value >> 21) & 511);
  EXPECT_EQ(index_at(PageLevel::one_gib, at), (at.value >> 30) & 511);
  EXPECT_EQ(index_at(PageLevel::gib_512, at), 258u);
  EXPECT_EQ(bytes_at(PageLevel::page), 4_KiB);
  EXPECT_EQ(bytes_at(PageLevel::two_mib), 2_MiB);
  EXPECT_EQ(bytes_at(PageLevel::one_gib), 1_GiB);
  EXPECT_EQ(bytes_at(PageLevel::gib_512), 512_GiB);
}
