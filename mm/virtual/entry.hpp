// PageEntry: one entry of an x86-64 page table, typed. Intel SDM volume 3A, section 4.5, tables 4-15 to 4-20.
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "mm/base/types.hpp"

namespace memory {

// What a mapping allows. Writing and executing together cannot be said.
enum class Access : std::uint8_t { read, read_write, read_execute };

// Who may use a mapping, beside the kernel.
enum class User : std::uint8_t { no, yes };

// Whether a translation holds in every space, and stays when another root is loaded.
enum class Scope : std::uint8_t { local, global };

// How memory behind a mapping is cached (Intel SDM volume 3A, section 11.3). The values are indexes into the PAT as
// kPageAttributes programs it.
enum class CacheType : std::uint8_t {
  write_back = 0,
  write_through = 1,
  uncached_minus = 2,  // uncached, unless an MTRR says write combining
  uncached = 3,
  write_combining = 4,
  write_protected = 5,
};

constexpr std::string_view name_of(CacheType cache) {
  constexpr std::string_view kNames[] = {"write-back", "write-through",   "uncached-minus",
                                         "uncached",   "write-combining", "write-protected"};
  return static_cast<unsigned>(cache) < std::size(kNames) ? kNames[static_cast<unsigned>(cache)] : "?";
}

// What IA32_PAT holds: a byte for each index (section 11.12.2). The first four are what a CPU starts with, so an entry
// made before the PAT was programmed means the same afterwards, if it is of these.
inline constexpr std::uint64_t kPageAttributes = 0x00'07'05'01'00'07'04'06;

// Everything that a mapping is but its two addresses.
struct Protection {
  Access access = Access::read;
  User user = User::no;
  CacheType cache = CacheType::write_back;
  Scope scope = Scope::global;  // of the kernel; a mapping for `user` is local
  constexpr bool operator==(const Protection&) const = default;

  // Global is what every space has, and no two spaces share a user's page. The enumerators exist.
  constexpr bool sensible() const {
    return access <= Access::read_execute && cache <= CacheType::write_protected &&
           (user == User::no || scope == Scope::local);
  }
};

// The level of a table, named by what one of its entries covers: PTE, PMD, PUD, and PGD; with five levels the PGD is one
// higher, over P4Ds.
enum class PageLevel : std::uint8_t { page = 0, two_mib = 1, one_gib = 2, gib_512 = 3, tib_256 = 4 };
constexpr unsigned raw(PageLevel level) { return static_cast<unsigned>(level); }
constexpr PageLevel below(PageLevel level) { return PageLevel(static_cast<std::uint8_t>(raw(level) - 1)); }
constexpr PageLevel above(PageLevel level) { return PageLevel(static_cast<std::uint8_t>(raw(level) + 1)); }
constexpr std::size_t shift_at(PageLevel level) { return kPageShift + std::size_t{9} * raw(level); }
constexpr std::uint64_t bytes_at(PageLevel level) { return std::uint64_t{1} << shift_at(level); }
constexpr unsigned index_at(PageLevel level, VirtAddr address) {
  return address.value >> shift_at(level) & 511;
}
inline constexpr unsigned kPageLevels = 5;
// As Linux calls the entries of such a table in a tree of that height.
constexpr std::string_view name_of(PageLevel level, PageLevel top) {
  constexpr std::string_view kNames[] = {"PTE", "PMD", "PUD", "P4D"};
  return level == top ? "PGD" : kNames[raw(level)];
}

// A tree of page tables. How many levels it has is a property of it; a CPU takes only trees of one kind (CR4.LA57).
struct PageRoot {
  PhysAddr table{};
  PageLevel top = PageLevel::gib_512;  // the level of the root table: gib_512 or tib_256

  // Whether a CPU takes that address: bits above those that are translated repeat the highest of them (section 3.3.7.1).
  constexpr bool canonical(VirtAddr at) const { return canonical_form(at.value) == at; }
  // The address that is translated by these bits.
  constexpr VirtAddr canonical_form(std::uint64_t bits) const {
    const unsigned unused = 64 - 9 - static_cast<unsigned>(shift_at(top));
    return {static_cast<std::uint64_t>(static_cast<std::int64_t>(bits << unused) >> unused)};
  }
};

class PageEntry {
 public:
  static constexpr std::uint64_t kPresent = 1 << 0;
  static constexpr std::uint64_t kWrite = 1 << 1;
  static constexpr std::uint64_t kUser = 1 << 2;
  static constexpr std::uint64_t kWriteThrough = 1 << 3;  // PWT, bit 0 of the index into the PAT
  static constexpr std::uint64_t kCacheDisable = 1 << 4;  // PCD, bit 1
  static constexpr std::uint64_t kAccessed = 1 << 5;
  static constexpr std::uint64_t kDirty = 1 << 6;
  static constexpr std::uint64_t kLarge = 1 << 7;  // in tables of 2 MiB and 1 GiB: maps, does not point
  static constexpr std::uint64_t kGlobal = 1 << 8;
  static constexpr std::uint64_t kSmallPat = 1 << 7;   // PAT, bit 2 of the index, in an entry that maps 4 KiB
  static constexpr std::uint64_t kLargePat = 1 << 12;  // the same in one that maps more
  static constexpr std::uint64_t kNoExecute = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kAddress = 0x000f'ffff'ffff'f000;

  constexpr PageEntry() = default;
  explicit constexpr PageEntry(std::uint64_t bits) : bits_(bits) {}

  // An entry that points to a table. The table's own entries decide what is allowed; `user`: to user mode too.
  static constexpr PageEntry table(PhysAddr table, User user = User::no) {
    return PageEntry(table.value | kPresent | kWrite | (user == User::yes ? kUser : 0));
  }

  // An entry that maps. `where` is aligned to bytes_at(level). What the kernel maps for itself is marked accessed, and
  // dirty where it may be written, so that no CPU needs to; whether a user's page was used is worth knowing.
  static constexpr PageEntry leaf(PhysAddr where, PageLevel level, Protection how) {
    const auto cache = static_cast<unsigned>(how.cache);
    std::uint64_t bits = where.value | kPresent;
    if (how.access == Access::read_write) bits |= kWrite;
    if (how.access != Access::read_execute) bits |= kNoExecute;
    if (how.user == User::yes)
      bits |= kUser;
    else
      bits |= kAccessed | (how.access == Access::read_write ? kDirty : 0);
    if (how.scope == Scope::global) bits |= kGlobal;
    if ((cache & 1) != 0) bits |= kWriteThrough;
    if ((cache & 2) != 0) bits |= kCacheDisable;
    if ((cache & 4) != 0) bits |= level == PageLevel::page ? kSmallPat : kLargePat;
    if (level != PageLevel::page) bits |= kLarge;
    return PageEntry(bits);
  }
  static constexpr PageEntry leaf(PhysAddr where, PageLevel level, Access access) {
    return leaf(where, level, Protection{.access = access});
  }

  constexpr bool operator==(const PageEntry&) const = default;
  constexpr bool present() const { return (bits_ & kPresent) != 0; }
  constexpr bool writable() const { return (bits_ & kWrite) != 0; }
  constexpr bool user() const { return (bits_ & kUser) != 0; }
  constexpr bool executable() const { return (bits_ & kNoExecute) == 0; }
  constexpr bool accessed() const { return (bits_ & kAccessed) != 0; }
  constexpr bool dirty() const { return (bits_ & kDirty) != 0; }
  constexpr bool large() const { return (bits_ & kLarge) != 0; }
  constexpr bool global() const { return (bits_ & kGlobal) != 0; }
  constexpr std::uint64_t bits() const { return bits_; }

  // Whether it maps a page, being present in a table of that level.
  constexpr bool maps(PageLevel level) const { return level == PageLevel::page || large(); }
  // The table that it points to.
  constexpr PhysAddr address() const { return {bits_ & kAddress}; }
  // The memory that it maps.
  constexpr PhysAddr address(PageLevel level) const {
    return {bits_ & kAddress & ~(level == PageLevel::page ? 0 : kLargePat)};
  }
  // What it was mapped with, as far as it maps. (Of write and execute together it says write.)
  constexpr Protection protection(PageLevel level) const {
    const std::uint64_t pat = level == PageLevel::page ? kSmallPat : kLargePat;
    const unsigned cache = ((bits_ & kWriteThrough) != 0 ? 1 : 0) | ((bits_ & kCacheDisable) != 0 ? 2 : 0) |
                           ((bits_ & pat) != 0 ? 4 : 0);
    return {.access = writable()     ? Access::read_write
                      : executable() ? Access::read_execute
                                     : Access::read,
            .user = user() ? User::yes : User::no,
            .cache = static_cast<CacheType>(cache),
            .scope = global() ? Scope::global : Scope::local};
  }
  // The same page with other rights; what hardware noted stays.
  constexpr PageEntry with(Protection how, PageLevel level) const {
    return PageEntry(leaf(address(level), level, how).bits_ | (bits_ & (kAccessed | kDirty)));
  }
  // For a large page of `level`: the entry for its part number `index`, one level lower. The PAT bit has its own place
  // in an entry that maps 4 KiB.
  constexpr PageEntry part(PageLevel level, unsigned index) const {
    const PageLevel lower = below(level);
    std::uint64_t bits = bits_;
    if (lower == PageLevel::page)
      bits = (bits & ~(kLarge | kLargePat)) | ((bits & kLargePat) != 0 ? kSmallPat : 0);
    return PageEntry(bits + index * bytes_at(lower));
  }

 private:
  std::uint64_t bits_ = 0;
};
static_assert(sizeof(PageEntry) == 8);

// An entry where hardware reads it, and sets A and D in it meanwhile: one that is present changes by exchange or by
// compare and exchange. A load is an acquire and whatever writes is a release, so who finds a table finds its entries.
// Changes are sequentially consistent, because FlushBatch asks afterwards which CPUs use the tree.
class AtomicEntry {
 public:
  PageEntry load() const { return PageEntry(bits_.load(std::memory_order_acquire)); }
  // Only over an absent entry.
  void set(PageEntry entry) { bits_.store(entry.bits(), std::memory_order_release); }
  PageEntry exchange(PageEntry entry) {
    return PageEntry(bits_.exchange(entry.bits(), std::memory_order_seq_cst));
  }
  // Writes `entry` if this holds what `seen` says; else `seen` is what it holds.
  bool replace(PageEntry& seen, PageEntry entry) {
    std::uint64_t bits = seen.bits();
    const bool done = bits_.compare_exchange_strong(bits, entry.bits(), std::memory_order_seq_cst,
                                                    std::memory_order_acquire);
    seen = PageEntry(bits);
    return done;
  }

 private:
  std::atomic<std::uint64_t> bits_{0};
};
static_assert(sizeof(AtomicEntry) == 8);

inline constexpr unsigned kTableEntries = 512;
using PageTable = PageEntry[kTableEntries];    // nobody else sees it
using LiveTable = AtomicEntry[kTableEntries];  // in use

}  // namespace memory
