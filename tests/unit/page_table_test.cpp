// Page tables: ranges that are mapped, unmapped and protected, read back by a walker of the test's own.
// SPDX-License-Identifier: MIT
#include "mm/virtual/page_table.hpp"
#include "tests/unit/table_world.hpp"

using namespace memory;
using namespace unit;

TEST(page_table, maps_pages_and_finds_them) {
  for (const PageLevel top : {PageLevel::gib_512, PageLevel::tib_256}) {
    Trees trees(top);
    ASSERT(trees.ok());
    ASSERT(trees->map(kHigh, kDevice, 3 * kPageSize, kData).ok());
    const auto middle = trees->query(kHigh + kPageSize + 5);
    ASSERT(middle.ok());
    EXPECT_EQ(middle.take().physical, kDevice + kPageSize + 5);
    EXPECT(middle.take().level == PageLevel::page && middle.take().how == kData);
    EXPECT_EQ(trees->query(kHigh + 3 * kPageSize).error(), Error::not_found);
    EXPECT_EQ(trees->query(kHigh - 1).error(), Error::not_found);
    const Found found = trees.walk(kHigh + 2 * kPageSize + 7);
    EXPECT(found.present && found.page == 4_KiB && found.write && !found.execute && !found.user);
    EXPECT_EQ(found.physical, kDevice.value + 2 * kPageSize + 7);
    EXPECT_EQ(trees.taken(), raw(top) + 1u);  // one a level, the root with them
    EXPECT(trees->valid());
  }
}

TEST(page_table, takes_the_largest_pages_that_fit) {
  Trees trees;
  ASSERT(trees.ok());
  // |4 KiB ... 2 MiB ... | 1 GiB | 2 MiB, 4 KiB|
  const VirtAddr first = kHigh + 1_GiB - 2_MiB - kPageSize;
  const PhysAddr to = PhysAddr{64_GiB} + 1_GiB - 2_MiB - kPageSize;
  const std::uint64_t bytes = kPageSize + 2_MiB + 1_GiB + 4_MiB + 2 * kPageSize;
  ASSERT(trees->map(first, to, bytes, kData).ok());
  const struct {
    std::uint64_t offset, page;
  } expected[] = {{0, 4_KiB},
                  {kPageSize, 2_MiB},
                  {kPageSize + 2_MiB, 1_GiB},
                  {kPageSize + 2_MiB + 1_GiB, 2_MiB},
                  {kPageSize + 4_MiB + 1_GiB, 2_MiB},
                  {kPageSize + 6_MiB + 1_GiB, 4_KiB},
                  {kPageSize * 2 + 6_MiB + 1_GiB, 4_KiB}};
  for (const auto& part : expected) {
    const Found found = trees.walk(first + part.offset);
    EXPECT_EQ(found.page, part.page);
    EXPECT_EQ(found.physical, to.value + part.offset);
  }
  EXPECT(!trees.walk(first + bytes).present && !trees.walk(first - 1).present);
  const TableCensus census = trees->census();
  EXPECT(census.leaves[0] == 3 && census.leaves[1] == 3 && census.leaves[2] == 1);
  EXPECT(census.tables[0] == 2 && census.tables[1] == 2 && census.tables[2] == 1 && census.tables[3] == 1);
  EXPECT(trees->valid());
}

TEST(page_table, maps_no_larger_pages_than_the_cpu_has) {
  Trees trees(PageLevel::gib_512, PageLevel::two_mib);
  ASSERT(trees.ok());
  ASSERT(trees->map(kHigh, PhysAddr{0}, 1_GiB, kData).ok());
  EXPECT_EQ(trees.walk(kHigh + 1_GiB - 1).page, 2_MiB);
  EXPECT(trees->census().leaves[1] == 512u);
}

TEST(page_table, maps_frames_from_a_list) {
  Trees trees;
  ASSERT(trees.ok());
  const FrameNumber list[] = {FrameNumber{77}, FrameNumber{5}, FrameNumber{900}};
  ASSERT(trees->map_pages(kHigh + 511 * kPageSize, list, kData).ok());
  for (unsigned n = 0; n < 3; ++n)
    EXPECT_EQ(trees.walk(kHigh + (511 + n) * kPageSize).physical, address_of(list[n]).value);
  EXPECT(trees->census().tables[0] == 2u);
  EXPECT(trees->valid());
}

TEST(page_table, every_protection_is_what_the_manual_says) {
  Trees trees;
  ASSERT(trees.ok());
  for (const Access access : {Access::read, Access::read_write, Access::read_execute})
    for (const User user : {User::no, User::yes})
      for (unsigned cache = 0; cache <= 5; ++cache)
        for (const std::uint64_t size : {4_KiB, 2_MiB, 1_GiB}) {
          const Protection how{access, user, static_cast<CacheType>(cache),
                               user == User::yes ? Scope::local : Scope::global};
          ASSERT(trees->map(kLow, PhysAddr{8_GiB}, size, how).ok());
          const Found found = trees.walk(kLow);
          EXPECT(found.page == size && found.physical == 8_GiB);
          EXPECT_EQ(found.write, access == Access::read_write);
          EXPECT_EQ(found.execute, access == Access::read_execute);
          EXPECT_EQ(found.user, user == User::yes);
          const std::uint64_t pat = found.entry >> (size == 4_KiB ? 7 : 12) & 1;
          EXPECT_EQ(pat << 2 | (found.entry >> 3 & 3), cache);
          EXPECT_EQ(found.entry >> 8 & 1, user == User::no ? 1u : 0u);
          EXPECT(trees->query(kLow).take().how == how);
          ASSERT(trees.unmap(kLow, size).ok());
        }
  EXPECT_EQ(trees.taken(), 1u);
}

TEST(page_table, finds_what_is_mapped_in_the_middle_of_a_range) {
  Trees trees;
  ASSERT(trees.ok());
  const VirtAddr taken = kHigh + 5 * kPageSize;
  ASSERT(trees->map(kHigh + 4_MiB, kDevice, kPageSize, kData).ok());
  constexpr FrameRun kRun{1, 9};
  for (const bool at_hand : {true, false}) {  // whether the table is the one that was changed last
    ASSERT(trees->map(taken, kDevice, kPageSize, kData).ok());
    if (!at_hand) {
      ASSERT(trees.unmap(kHigh + 4_MiB, kPageSize).ok());
      ASSERT(trees->map(kHigh + 4_MiB, kDevice, kPageSize, kData).ok());
    }
    const std::uint64_t before = trees.fingerprint();
    EXPECT_EQ(trees->map_runs(kHigh, {&kRun, 1}, 8, kData).error(), Error::exists);
    EXPECT_EQ(trees->map(kHigh, kDevice, 8 * kPageSize, kData).error(), Error::exists);
    EXPECT_EQ(trees.unmap(kHigh, 8 * kPageSize).error(), Error::not_found);
    EXPECT_EQ(trees.fingerprint(), before);
    EXPECT(trees->valid());
    ASSERT(trees.unmap(taken, kPageSize).ok());
    EXPECT(trees->map_runs(kHigh, {&kRun, 1}, 8, kData).ok());
    ASSERT(trees.unmap(kHigh, 8 * kPageSize).ok());
  }
}

TEST(page_table, refuses_what_is_wrong_and_changes_nothing) {
  for (const PageLevel top : {PageLevel::gib_512, PageLevel::tib_256}) {
    Trees trees(top);
    ASSERT(trees.ok());
    ASSERT(trees->map(kHigh + 2_MiB, kDevice, 2 * kPageSize, kData).ok());
    ASSERT(trees->map(kHigh + 8_MiB, PhysAddr{8_MiB}, 2_MiB, kData).ok());
    const std::uint64_t before = trees.fingerprint();
    const std::uint64_t machine = unit::fingerprint(*trees.world);
    const bool five = top == PageLevel::tib_256;
    const VirtAddr hole{five ? 0x0100'0000'0000'0000u : 0x0000'8000'0000'0000u};
    const struct {
      VirtAddr at;
      std::uint64_t bytes;
    } ranges[] = {{kHigh, 0},
                  {kHigh + 1, kPageSize},
                  {kHigh, kPageSize - 1},
                  {hole, kPageSize},
                  {hole - kPageSize, 2 * kPageSize},
                  {VirtAddr{0} - hole.value - kPageSize, kPageSize},
                  {VirtAddr{0} - kPageSize, 2 * kPageSize},
                  {VirtAddr{0x1000}, ~std::uint64_t{0xfff}}};
    for (const auto& range : ranges) {
      EXPECT_EQ(trees->map(range.at, kDevice, range.bytes, kData).error(), Error::invalid);
      EXPECT_EQ(trees.unmap(range.at, range.bytes).error(), Error::invalid);
      EXPECT_EQ(trees.protect(range.at, range.bytes, kData).error(), Error::invalid);
    }
    EXPECT_EQ(trees->query(hole).error(), Error::invalid);
    EXPECT_EQ(trees->map(kHigh, kDevice + 1, kPageSize, kData).error(), Error::invalid);
    EXPECT_EQ(trees->map(kHigh, PhysAddr{1ull << 52}, kPageSize, kData).error(), Error::invalid);
    EXPECT_EQ(trees->map(kHigh, PhysAddr{(1ull << 52) - kPageSize}, 2 * kPageSize, kData).error(),
              Error::invalid);
    EXPECT_EQ(trees->map(kHigh, kDevice, kPageSize, kUserData).error(),
              Error::invalid);  // in the kernel's half
    EXPECT_EQ(trees.protect(kHigh + 2_MiB, kPageSize, kUserData).error(), Error::invalid);
    EXPECT_EQ(trees->map(kLow, kDevice, kPageSize, {.user = User::yes}).error(), Error::invalid);  // global
    EXPECT_EQ(trees->map(kHigh, kDevice, kPageSize, {.cache = static_cast<CacheType>(6)}).error(),
              Error::invalid);

    // Something is in the way, or missing: first, in the middle, last; under a large page.
    EXPECT_EQ(trees->map(kHigh + 2_MiB, kDevice, kPageSize, kData).error(), Error::exists);
    EXPECT_EQ(trees->map(kHigh, PhysAddr{0}, 2_MiB + kPageSize, kData).error(), Error::exists);
    EXPECT_EQ(trees->map(kHigh, PhysAddr{0}, 1_GiB, kData).error(), Error::exists);
    EXPECT_EQ(trees->map(kHigh + 9_MiB, kDevice, kPageSize, kData).error(), Error::exists);
    EXPECT_EQ(trees->map(kHigh + 4_MiB, PhysAddr{4_MiB}, 6_MiB, kData).error(), Error::exists);
    EXPECT_EQ(trees.unmap(kHigh + 2_MiB, 3 * kPageSize).error(), Error::not_found);
    EXPECT_EQ(trees.unmap(kHigh + 2_MiB - kPageSize, 2 * kPageSize).error(), Error::not_found);
    EXPECT_EQ(trees.unmap(kHigh + 9_MiB, 2_MiB).error(), Error::not_found);
    EXPECT_EQ(trees.unmap(kHigh + 512_GiB, kPageSize).error(), Error::not_found);
    EXPECT_EQ(trees.protect(kHigh + 2_MiB, 3 * kPageSize, kData).error(), Error::not_found);
    EXPECT_EQ(trees.protect(kHigh + 9_MiB, 2_MiB, {}).error(), Error::not_found);
    EXPECT_EQ(trees.fingerprint(), before);
    EXPECT_EQ(unit::fingerprint(*trees.world), machine);
    EXPECT(trees->valid());
  }
}

TEST(page_table, the_last_page_of_each_half_can_be_mapped) {
  Trees trees;
  ASSERT(trees.ok());
  for (const VirtAddr last :
       {VirtAddr{0} - kPageSize, VirtAddr{0x7fff'ffff'f000}, VirtAddr{0xffff'8000'0000'0000}}) {
    ASSERT(trees->map(last, kDevice, kPageSize, kData).ok());
    EXPECT_EQ(trees.walk(last + 4095).physical, kDevice.value + 4095);
    EXPECT(trees.protect(last, kPageSize, {}).ok());
    EXPECT(trees.unmap(last, kPageSize).ok());
  }
  EXPECT(trees->valid());
}

TEST(page_table, unmap_takes_all_of_it_and_frees_tables_after_the_flush) {
  Trees trees;
  ASSERT(trees.ok());
  const VirtAddr first = kLow + 2_MiB - 3 * kPageSize;
  ASSERT(trees->map(first, kDevice, 6 * kPageSize, kData).ok());
  const std::uint64_t taken = trees.taken();
  EXPECT_EQ(taken, 5u);  // root, PUD, PMD, two PTEs
  {
    FlushBatch flush(*trees.tables);
    ASSERT(trees->unmap(first, 6 * kPageSize, flush).ok());
    EXPECT(!trees.walk(first).present && !trees.walk(first + 5 * kPageSize).present);
    EXPECT_EQ(flush.pages(), 6u);
    EXPECT_EQ(flush.dropped_blocks(), 4u);
    EXPECT_EQ(trees.taken(), taken);  // CPUs may still walk through them
    EXPECT(trees->valid());
  }
  EXPECT_EQ(trees.taken(), 1u);
  EXPECT(trees->valid());
  EXPECT(trees.world->manager().valid());
}

TEST(page_table, what_the_root_points_to_stays_in_the_kernels_half) {
  Trees trees;
  ASSERT(trees.ok());
  ASSERT(trees->map(kHigh, kDevice, kPageSize, kData).ok());
  ASSERT(trees.unmap(kHigh, kPageSize).ok());
  EXPECT_EQ(trees.taken(), 2u);
  EXPECT(trees->valid());
}

TEST(page_table, unmap_drops_the_frames_it_is_asked_to) {
  Trees trees;
  ASSERT(trees.ok());
  FrameNumber frames[40];
  for (FrameNumber& frame : frames) frame = trees.world->physical().allocate(Order{0}).take();
  ASSERT(trees->map_pages(kLow, frames, kUserData).ok());
  {
    FlushBatch flush(*trees.tables);
    ASSERT(trees->unmap(kLow, 40 * kPageSize, flush, Unmapped::drop).ok());
    for (const FrameNumber frame : frames) EXPECT(trees.world->frames()[frame].is(FrameState::allocated));
    flush.flush();
    for (const FrameNumber frame : frames) EXPECT(!trees.world->frames()[frame].is(FrameState::allocated));
  }
  EXPECT_EQ(trees.taken(), 1u);
  const FrameNumber large = trees.world->physical().allocate(Order{9}).take();
  ASSERT(trees->map(kLow, address_of(large), 2_MiB, kUserData).ok());
  ASSERT(trees.unmap(kLow, 2_MiB, Unmapped::drop).ok());
  EXPECT_EQ(trees.taken(), 1u);
  EXPECT(trees.world->manager().valid());
}

TEST(page_table, protect_changes_rights_and_keeps_what_hardware_noted) {
  Trees trees;
  ASSERT(trees.ok());
  ASSERT(trees->map(kLow, kDevice, 2 * kPageSize, kUserData).ok());
  EXPECT(!trees->query(kLow).take().accessed && !trees->query(kLow).take().dirty);
  trees.word_of(kLow) |= 0x60;
  {
    FlushBatch flush(*trees.tables);
    const Protection read{.user = User::yes, .scope = Scope::local};
    ASSERT(trees->protect(kLow, 2 * kPageSize, read, flush).ok());
    EXPECT_EQ(flush.pages(), 2u);
    ASSERT(trees->protect(kLow, 2 * kPageSize, read, flush).ok());
    EXPECT_EQ(flush.pages(), 2u);  // nothing changed
  }
  const Translation first = trees->query(kLow).take();
  EXPECT(first.accessed && first.dirty && first.how.access == Access::read && first.physical == kDevice);
  const Translation second = trees->query(kLow + kPageSize).take();
  EXPECT(!second.accessed && !second.dirty && second.how.access == Access::read);
  EXPECT(trees->valid());
}

TEST(page_table, a_large_page_is_split_where_a_part_changes) {
  Trees trees;
  ASSERT(trees.ok());
  const Protection combining{Access::read_write, User::yes, CacheType::write_combining, Scope::local};
  ASSERT(trees->map(kLow, PhysAddr{4_GiB}, 1_GiB, combining).ok());
  trees.word_of(kLow) |= 0x40;  // dirty
  const VirtAddr part = kLow + 6_MiB + 5 * kPageSize;
  ASSERT(trees.protect(part, kPageSize, {.user = User::yes, .scope = Scope::local}).ok());
  EXPECT(trees->census().leaves[0] == 512u);
  EXPECT(trees->census().leaves[1] == 511u);
  for (const VirtAddr at : {kLow, kLow + 6_MiB, part - 1, part + kPageSize, kLow + 8_MiB, kLow + 1_GiB - 1}) {
    const Translation found = trees->query(at).take();
    EXPECT_EQ(found.physical.value, 4_GiB + (at - kLow));
    EXPECT(found.how == combining && found.dirty && !found.accessed);
  }
  // By the bits: PAT is bit 12 of the larger, bit 7 of the small, where bit 12 is of the address.
  EXPECT_EQ(trees.word_of(kLow) & 0x1080, 0x1080u);
  EXPECT_EQ(trees.word_of(kLow + 6_MiB) & 0x1080, 0x80u);
  EXPECT_EQ(trees.word_of(kLow + 6_MiB + kPageSize) & 0x1080, 0x1080u);
  const Translation changed = trees->query(part).take();
  EXPECT(changed.how.access == Access::read && changed.how.cache == CacheType::write_back && changed.dirty);
  EXPECT(trees->valid());
  ASSERT(trees.unmap(kLow, 1_GiB).ok());
  EXPECT_EQ(trees.taken(), 1u);
}

TEST(page_table, unmap_splits_at_both_ends) {
  Trees trees;
  ASSERT(trees.ok());
  ASSERT(trees->map(kLow, PhysAddr{4_GiB}, 2_GiB, kData).ok());
  const VirtAddr first = kLow + 1_GiB - 2_MiB - kPageSize;
  const VirtAddr end = kLow + 1_GiB + 4_MiB + kPageSize;
  ASSERT(trees.unmap(first, end - first).ok());
  EXPECT(trees.walk(first - 1).present && !trees.walk(first).present);
  EXPECT(!trees.walk(end - 1).present && trees.walk(end).present);
  EXPECT_EQ(trees.walk(end).physical, 4_GiB + (end - kLow));
  EXPECT_EQ(trees.taken(), 2u + 2 + 2);  // root, PUD; for each side a PMD and a PTE
  EXPECT(trees->valid());
}

TEST(page_table, smaller_pages_go_where_a_table_is) {
  Trees trees;
  ASSERT(trees.ok());
  ASSERT(trees->map(kHigh + 2_MiB, PhysAddr{2_MiB}, kPageSize, kData).ok());
  // As BootMap's: empty, and there to stay.
  const TablePath path = trees->path(kHigh + 2_MiB).take();
  Frame& table = trees.world->frames()[frame_at(path.steps[3].table)];
  table.set(FrameState::reserved);
  ASSERT(trees.unmap(kHigh + 2_MiB, kPageSize).ok());
  EXPECT(trees->census().tables[0] == 1u);
  EXPECT(trees->census().reserved_tables == 1u);
  ASSERT(trees->map(kHigh, PhysAddr{0}, 6_MiB, kData).ok());
  EXPECT(trees.walk(kHigh).page == 2_MiB && trees.walk(kHigh + 2_MiB).page == 4_KiB &&
         trees.walk(kHigh + 4_MiB).page == 2_MiB);
  EXPECT_EQ(trees.walk(kHigh + 4_MiB - 1).physical, 4_MiB - 1);
  EXPECT(trees->valid());
  ASSERT(trees.unmap(kHigh, 6_MiB).ok());
  EXPECT(trees->valid());
  table.set(FrameState::allocated);
}

TEST(page_table, a_page_alone_of_any_size_goes_by_its_first_address) {
  for (const std::uint64_t size : {4_KiB, 2_MiB, 1_GiB}) {
    Trees trees;
    ASSERT(trees.ok());
    const std::uint64_t tables = size == 4_KiB ? 4 : size == 2_MiB ? 3 : 2;
    ASSERT(trees->map(kLow, PhysAddr{8_GiB}, size, kUserData).ok());
    ASSERT(trees->map(kLow + size, PhysAddr{16_GiB}, size, kUserData).ok());
    EXPECT_EQ(trees->map(kLow + size, PhysAddr{8_GiB}, size, kUserData).error(), Error::exists);
    EXPECT_EQ(trees.taken(), tables);
    FlushBatch flush(*trees.tables);
    EXPECT_EQ(trees->unmap_page(kLow + size / 2, flush).error(), Error::invalid);
    EXPECT_EQ(trees->unmap_page(kLow + 1, flush).error(), Error::invalid);
    EXPECT_EQ(trees->unmap_page(kLow - 1, flush).error(), Error::not_found);
    EXPECT_EQ(trees->unmap_page(kLow + 2 * size, flush).error(), Error::not_found);
    EXPECT_EQ(trees->unmap_page(VirtAddr{0x0100'0000'0000'0000}, flush).error(), Error::invalid);
    EXPECT(flush.pages() == 0u && trees->valid());
    const auto first = trees->unmap_page(kLow, flush);
    EXPECT(first.ok() && bytes_at(first.take()) == size);
    EXPECT(!trees.walk(kLow).present && trees.walk(kLow + size).physical == 16_GiB);
    EXPECT(flush.pages() == 1u && flush.dropped_blocks() == 0u && trees->valid());
    EXPECT(trees->unmap_page(kLow + size, flush).ok());
    EXPECT_EQ(trees->unmap_page(kLow + size, flush).error(), Error::not_found);
    EXPECT(flush.pages() == 2u && flush.dropped_blocks() == tables - 1 && trees->valid());
  }
}

TEST(page_table, a_page_goes_wherever_the_last_change_was) {
  Trees trees;
  ASSERT(trees.ok());
  const VirtAddr far = kLow + 4_MiB;
  for (const VirtAddr last : {kLow, far}) {  // whose table is at hand
    ASSERT(trees->map(kLow, kDevice, kPageSize, kData).ok());
    ASSERT(trees->map(far, kDevice, kPageSize, kData).ok());
    ASSERT(trees.protect(kLow, kPageSize, {}).ok());
    ASSERT(trees->map(last + kPageSize, kDevice, kPageSize, kData).ok());
    FlushBatch flush(*trees.tables);
    EXPECT(trees->unmap_page(kLow, flush).ok() && trees->unmap_page(far, flush).ok());
    EXPECT(trees->unmap_page(last + kPageSize, flush).ok());
    EXPECT(trees->valid());
    flush.flush();
    EXPECT_EQ(trees.taken(), 1u);
  }
}
