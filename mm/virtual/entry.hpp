// PageEntry: one entry of an x86-64 page table, typed. Intel SDM volume 3A, section 4.5, tables 4-15 to 4-20.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/types.hpp"

namespace memory {

// What a kernel mapping allows. Writing and executing together cannot be said.
enum class Access : std::uint8_t { read, read_write, read_execute };

// The level of a table, named by what one of its entries covers.
enum class PageLevel : std::uint8_t { page = 0, two_mib = 1, one_gib = 2, root = 3 };
constexpr unsigned raw(PageLevel level) { return static_cast<unsigned>(level); }
constexpr PageLevel below(PageLevel level) { return PageLevel(static_cast<std::uint8_t>(raw(level) - 1)); }
constexpr std::size_t shift_at(PageLevel level) { return kPageShift + std::size_t{9} * raw(level); }
constexpr std::uint64_t bytes_at(PageLevel level) { return std::uint64_t{1} << shift_at(level); }
constexpr unsigned index_at(PageLevel level, VirtAddr address) {
  return address.value >> shift_at(level) & 511;
}

class PageEntry {
 public:
  static constexpr std::uint64_t kPresent = 1 << 0;
  static constexpr std::uint64_t kWrite = 1 << 1;
  static constexpr std::uint64_t kAccessed = 1 << 5;
  static constexpr std::uint64_t kDirty = 1 << 6;
  static constexpr std::uint64_t kLarge = 1 << 7;  // in tables of 2 MiB and 1 GiB: maps, does not point
  static constexpr std::uint64_t kGlobal = 1 << 8;
  static constexpr std::uint64_t kNoExecute = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kAddress = 0x000f'ffff'ffff'f000;

  constexpr PageEntry() = default;

  // An entry that points to a table. The table's own entries decide what is allowed.
  static constexpr PageEntry table(PhysAddr table) { return PageEntry(table.value | kPresent | kWrite); }

  // An entry that maps for the kernel. `where` is aligned to bytes_at(level).
  static constexpr PageEntry leaf(PhysAddr where, PageLevel level, Access access) {
    return PageEntry(where.value | kPresent | kGlobal | kAccessed | (level == PageLevel::page ? 0 : kLarge) |
                     (access == Access::read_write ? kWrite | kDirty : 0) |
                     (access == Access::read_execute ? 0 : kNoExecute));
  }

  constexpr bool present() const { return (bits_ & kPresent) != 0; }
  constexpr bool writable() const { return (bits_ & kWrite) != 0; }
  constexpr bool executable() const { return (bits_ & kNoExecute) == 0; }
  constexpr bool large() const { return (bits_ & kLarge) != 0; }
  constexpr PhysAddr address() const { return {bits_ & kAddress}; }
  constexpr std::uint64_t bits() const { return bits_; }

 private:
  explicit constexpr PageEntry(std::uint64_t bits) : bits_(bits) {}
  std::uint64_t bits_ = 0;
};
static_assert(sizeof(PageEntry) == 8);

using PageTable = PageEntry[512];

}  // namespace memory
