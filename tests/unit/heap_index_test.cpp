// SPDX-License-Identifier: MIT
#include "mm/heap/heap_index.hpp"
#include "mm/base/random.hpp"
#include "tests/unit/heap_world.hpp"

using namespace memory;

TEST(heap_index, every_size_has_the_list_of_its_class) {
  std::size_t last = HeapIndex::list_of(HeapBlock::kSmallest);
  for (std::size_t bytes = HeapBlock::kSmallest; bytes < 128_KiB; bytes += HeapBlock::kGranule) {
    const std::size_t list = HeapIndex::list_of(bytes);
    EXPECT(list == last || list == last + 1);  // no gap, no way back
    // From list_from() on every block fits, and of the list before it not every one.
    const std::size_t from = HeapIndex::list_from(bytes);
    EXPECT(from == list || from == list + 1);
    EXPECT_EQ(from == list,
              bytes == HeapBlock::kSmallest || HeapIndex::list_of(bytes - HeapBlock::kGranule) != list);
    last = list;
  }
}

TEST(heap_index, a_class_spans_less_than_a_64th_of_its_sizes) {
  for (std::size_t power = 1024; power < std::size_t{1} << 32; power *= 2)
    for (std::size_t step = 0; step < 64; ++step) {
      const std::size_t least = power + power / 64 * step;
      const std::size_t next = least + power / 64;
      EXPECT_EQ(HeapIndex::list_of(least), HeapIndex::list_from(least));
      EXPECT_EQ(HeapIndex::list_of(next - HeapBlock::kGranule), HeapIndex::list_of(least));
      if (next < std::size_t{1} << 32) EXPECT_EQ(HeapIndex::list_of(next), HeapIndex::list_of(least) + 1);
    }
  EXPECT_EQ(HeapIndex::list_of((std::size_t{1} << 32) - 16), std::size_t{HeapIndex::kLists} - 1);
}

TEST(heap_index, finds_the_first_list_that_has_something) {
  auto* const index = unit::fresh<HeapIndex>();
  auto* const model = unit::fresh<std::array<bool, HeapIndex::kLists>>();
  ASSERT(index != nullptr && model != nullptr);
  *model = {};
  Random random{unit::seed()};
  for (unsigned n = 0; n < 2000; ++n) {
    const std::size_t changed = random.below(HeapIndex::kLists);
    (*model)[changed] = random.below(3) == 0;
    (*model)[changed] ? index->set(changed) : index->clear(changed);
    const std::size_t asked = random.below(HeapIndex::kLists + 1);
    std::size_t expected = asked;
    while (expected < HeapIndex::kLists && !(*model)[expected]) ++expected;
    std::size_t found = asked;
    EXPECT_EQ(index->find(found), expected < HeapIndex::kLists);
    if (expected < HeapIndex::kLists) EXPECT_EQ(found, expected);
  }
}

TEST(heap_index, a_header_with_one_wrong_bit_never_decodes) {
  Random random{unit::seed()};
  for (unsigned n = 0; n < 200; ++n) {
    const HeapKey key(random.next());
    const std::uint64_t address = random.next() << 4 | 8;
    const auto info = static_cast<std::uint32_t>(random.next());
    const auto kind = random.below(2) == 0 ? HeapKey::Kind::used : HeapKey::Kind::free;
    const std::uint64_t word = key.encode(address, kind, HeapKey::spread(info));
    std::uint64_t plain;
    EXPECT(key.decode(word, address, kind, plain) && HeapKey::info(plain) == info);
    // What it says of itself: the magic value, and nothing else besides info, address and secret.
    const std::uint64_t magic = kind == HeapKey::Kind::used ? 0xfeed'face'dead'c0de : 0xdead'beef'cafe'babe;
    EXPECT_EQ(word ^ HeapKey::spread(info) ^ address ^ key.secret(), magic);
    for (unsigned bit = 0; bit < 64; ++bit)
      for (const auto read : {HeapKey::Kind::used, HeapKey::Kind::free})
        EXPECT(!key.decode(word ^ std::uint64_t{1} << bit, address, read, plain));
    EXPECT(!key.decode(word, address + 16, kind, plain));  // a copy elsewhere
  }
}
