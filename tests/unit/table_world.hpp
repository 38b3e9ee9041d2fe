// A tree of page tables on a machine of its own, and a walker that knows only what the manual says.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/virtual/page_table.hpp"
#include "tests/unit/world.hpp"

namespace unit {

using namespace memory;

inline constexpr PhysRange kTableMemory[] = {frames(0, 1024)};
inline constexpr PhysAddr kDevice{0x12'3456'7000};  // memory that no Frame describes
inline constexpr VirtAddr kHigh{0xffff'c000'0000'0000};
inline constexpr VirtAddr kLow{0x5000'0000'0000};
inline constexpr Protection kData{.access = Access::read_write};
inline constexpr Protection kUserData{.access = Access::read_write, .user = User::yes, .scope = Scope::local};

// What the words of the tables say about an address. Intel SDM volume 3A, section 4.5.4.
struct Found {
  bool present = false;
  std::uint64_t physical = 0;
  std::uint64_t page = 0;  // bytes
  std::uint64_t entry = 0;
  bool write = true;
  bool execute = true;
  bool user = true;
};

struct Trees {
  World world{{.memory = kTableMemory}};
  PageTables* tables = nullptr;
  std::uint64_t free_before = 0;

  explicit Trees(PageLevel top = PageLevel::gib_512, PageLevel largest = PageLevel::one_gib) {
    if (!world.ok()) return;
    free_before = free();
    const auto root = PageTables::new_root(world->physical(), top);
    if (root.ok()) tables = fresh<PageTables>(world->physical(), root.take(), largest);
  }
  bool ok() const { return tables != nullptr; }
  PageTables* operator->() const { return tables; }
  std::uint64_t free() { return world->physical().levels().free; }
  std::uint64_t taken() { return free_before - free(); }  // frames that are tables

  std::uint64_t* words(std::uint64_t table) {
    return reinterpret_cast<std::uint64_t*>(world->frames().open(frame_at(PhysAddr{table})).bytes());
  }
  Found walk(VirtAddr at) {
    Found found;
    std::uint64_t table = tables->root().table.value;
    for (int shift = tables->root().top == PageLevel::tib_256 ? 48 : 39; shift >= 12; shift -= 9) {
      const std::uint64_t word = words(table)[at.value >> shift & 511];
      if ((word & 1) == 0) return {};
      found.write = found.write && (word & 2) != 0;
      found.user = found.user && (word & 4) != 0;
      found.execute = found.execute && word >> 63 == 0;
      if (shift == 12 || (word & 0x80) != 0) {
        found.present = true;
        found.entry = word;
        found.page = std::uint64_t{1} << shift;
        found.physical = (word & 0x000f'ffff'ffff'f000 & ~(found.page - 1)) | (at.value & (found.page - 1));
        return found;
      }
      table = word & 0x000f'ffff'ffff'f000;
    }
    return {};
  }
  // The word that maps `at`.
  std::uint64_t& word_of(VirtAddr at) {
    std::uint64_t table = tables->root().table.value;
    for (int shift = 39;; shift -= 9) {
      std::uint64_t& word = words(table)[at.value >> shift & 511];
      if (shift == 12 || (word & 0x80) != 0) return word;
      table = word & 0x000f'ffff'ffff'f000;
    }
  }
  // Equal trees are equal numbers.
  std::uint64_t fingerprint(std::uint64_t table, int level) {
    std::uint64_t sum = 0x1234;
    for (unsigned index = 0; index < 512; ++index) {
      const std::uint64_t word = words(table)[index];
      sum = (sum ^ word) * 0x9e37'79b9'7f4a'7c15;
      sum ^= sum >> 29;
      if ((word & 1) != 0 && level > 0 && (word & 0x80) == 0)
        sum ^= fingerprint(word & 0x000f'ffff'ffff'f000, level - 1);
    }
    return sum;
  }
  std::uint64_t fingerprint() {
    return fingerprint(tables->root().table.value, static_cast<int>(raw(tables->root().top)));
  }

  Result<void> unmap(VirtAddr at, std::uint64_t bytes, Unmapped what = Unmapped::keep) {
    FlushBatch flush(*tables);
    return tables->unmap(at, bytes, flush, what);
  }
  Result<void> protect(VirtAddr at, std::uint64_t bytes, Protection how) {
    FlushBatch flush(*tables);
    return tables->protect(at, bytes, how, flush);
  }
};

}  // namespace unit
