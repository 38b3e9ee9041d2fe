// TableCall: one call of page tables as data, so that many can be sent at once; PteFlags: what a mapping is, in the bits of
// mm.h. The same for the C face and the console.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <optional>

#include "mm/memory_manager.hpp"

namespace memory {

// Rights and cache type as the C face says them: where the bits of an entry are, and the cache type's third bit where a
// large entry has it (Intel SDM volume 3A, tables 4-18 to 4-20).
struct PteFlags {
  std::uint64_t bits = 0;

  static constexpr std::uint64_t kWords = PageEntry::kPresent | PageEntry::kWrite | PageEntry::kUser |
                                          PageEntry::kWriteThrough | PageEntry::kCacheDisable |
                                          PageEntry::kGlobal | PageEntry::kLargePat | PageEntry::kNoExecute;

  static constexpr std::uint64_t kHuge = PageEntry::kLarge;  // of map_page() alone: a page of 2 MiB

  // Fails with invalid where bits mean nothing, where a page would be written and executed, or where it would be a user's in
  // every space.
  Result<Protection> protection() const;
  // Of what is mapped: with A, D and, for a page larger than 4 KiB, the bit that says so.
  static PteFlags of(const Translation& found);
};

// CALL(letter, name, what the numbers are, what comes of it). ROOT is what pgd_alloc returned; for the last two it may be
// the kernel's.
#define MEMORY_TABLE_CALLS(CALL)                            \
  CALL('n', pgd_alloc, "n: the root")                       \
  CALL('d', pgd_free, "dROOT: 0")                           \
  CALL('m', map_range, "mROOT/AT/BYTES/TO/FLAGS: 0")        \
  CALL('u', unmap_range, "uROOT/AT/BYTES: 0")               \
  CALL('p', protect_range, "pROOT/AT/BYTES/FLAGS: 0")       \
  CALL('M', map_page, "MROOT/AT/TO/FLAGS: 0")               \
  CALL('U', unmap_page, "UROOT/AT: 0")                      \
  CALL('q', virt_to_phys, "qROOT/AT: the physical address") \
  CALL('l', look, "lROOT/AT: flags, no-execute in bit 9, from bit 13 on the level")

inline constexpr std::size_t kTableNumbers = 5;

struct TableCall {
  char letter = 0;
  std::array<std::uint64_t, kTableNumbers> numbers{};
};

// How many numbers the call takes; nothing where the letter is none.
std::optional<std::size_t> table_numbers(char letter);

// Precondition: table_numbers(call.letter). Fails as the call does, and then nothing has changed.
Result<std::uint64_t> perform(MemoryManager& manager, const TableCall& call);

// KOS's calls, as mm.h says them: one page of the tree at `root`.
Result<void> map_page(MemoryManager& manager, PhysAddr root, VirtAddr at, PhysAddr to, PteFlags flags);
Result<void> unmap_page(MemoryManager& manager, PhysAddr root, VirtAddr at);

}  // namespace memory
