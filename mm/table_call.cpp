// TableCall: which call it is.
// SPDX-License-Identifier: MIT
#include "mm/table_call.hpp"

namespace memory {

Result<Protection> PteFlags::protection() const {
  if ((bits & ~kWords) != 0) return Error::invalid;
  const bool write = (bits & PageEntry::kWrite) != 0;
  const bool execute = (bits & PageEntry::kNoExecute) == 0;
  if (write && execute) return Error::invalid;
  const unsigned cache = ((bits & PageEntry::kWriteThrough) != 0 ? 1 : 0) |
                         ((bits & PageEntry::kCacheDisable) != 0 ? 2 : 0) |
                         ((bits & PageEntry::kLargePat) != 0 ? 4 : 0);
  const Protection how{.access = write     ? Access::read_write
                                 : execute ? Access::read_execute
                                           : Access::read,
                       .user = (bits & PageEntry::kUser) != 0 ? User::yes : User::no,
                       .cache = static_cast<CacheType>(cache),
                       .scope = (bits & PageEntry::kGlobal) != 0 ? Scope::global : Scope::local};
  if (!how.sensible()) return Error::invalid;
  return how;
}

PteFlags PteFlags::of(const Translation& found) {
  std::uint64_t bits = PageEntry::leaf({}, PageLevel::two_mib, found.how).bits() &
                       ~(PageEntry::kAccessed | PageEntry::kDirty | PageEntry::kLarge);
  if (found.accessed) bits |= PageEntry::kAccessed;
  if (found.dirty) bits |= PageEntry::kDirty;
  if (found.level != PageLevel::page) bits |= PageEntry::kLarge;
  return {bits};
}

std::optional<std::size_t> table_numbers(char letter) {
  switch (letter) {
    case 'n': return 0;
    case 'd': return 1;
    case 'm': return 5;
    case 'u': return 3;
    case 'p':
    case 'M': return 4;
    case 'U':
    case 'q':
    case 'l': return 2;
    default: return std::nullopt;
  }
}

namespace {

Result<std::uint64_t> change(PageTables& tables, const TableCall& call) {
  const auto& [root, at, bytes, third, fourth] = call.numbers;
  if (call.letter == 'm') {
    const Protection how = TRY(PteFlags{fourth}.protection());
    TRY(tables.map(VirtAddr{at}, PhysAddr{third}, bytes, how));
    return std::uint64_t{0};
  }
  FlushBatch flush(tables);
  if (call.letter == 'u') {
    TRY(tables.unmap(VirtAddr{at}, bytes, flush));
    return std::uint64_t{0};
  }
  const Protection how = TRY(PteFlags{third}.protection());
  TRY(tables.protect(VirtAddr{at}, bytes, how, flush));
  return std::uint64_t{0};
}

Result<std::uint64_t> look(const PageTables& tables, const TableCall& call) {
  const Translation found = TRY(tables.query(VirtAddr{call.numbers[1]}));
  if (call.letter == 'q') return found.physical.value;
  const std::uint64_t bits = PteFlags::of(found).bits;
  const std::uint64_t low = bits & ~PageEntry::kNoExecute;
  return low | ((bits & PageEntry::kNoExecute) != 0 ? 1u << 9 : 0) | raw(found.level) << 13;
}

}  // namespace

Result<std::uint64_t> perform(MemoryManager& manager, const TableCall& call) {
  PageDirectories& directories = manager.directories();
  const PhysAddr root{call.numbers[0]};
  switch (call.letter) {
    case 'n': return TRY(directories.create())->root().table.value;
    case 'd': TRY(directories.destroy(root)); return std::uint64_t{0};
    case 'm':
    case 'u':
    case 'p': return change(*TRY(directories.find(root)), call);
    case 'M':
      TRY(map_page(manager, root, VirtAddr{call.numbers[1]}, PhysAddr{call.numbers[2]},
                   PteFlags{call.numbers[3]}));
      return std::uint64_t{0};
    case 'U': TRY(unmap_page(manager, root, VirtAddr{call.numbers[1]})); return std::uint64_t{0};
    case 'q':
    case 'l': return look(*TRY(directories.look(root)), call);
    default: return Error::invalid;
  }
}

Result<void> map_page(MemoryManager& manager, PhysAddr root, VirtAddr at, PhysAddr to, PteFlags flags) {
  PageTables& tables = *TRY(manager.directories().find(root));
  const std::uint64_t bytes =
      bytes_at((flags.bits & PteFlags::kHuge) != 0 ? PageLevel::two_mib : PageLevel::page);
  if (!at.aligned_to(bytes) || !to.aligned_to(bytes)) return Error::invalid;
  return tables.map(at, to, bytes, TRY(PteFlags{flags.bits & ~PteFlags::kHuge}.protection()));
}

Result<void> unmap_page(MemoryManager& manager, PhysAddr root, VirtAddr at) {
  PageTables& tables = *TRY(manager.directories().find(root));
  FlushBatch flush(tables);
  TRY(tables.unmap_page(at, flush));
  return {};
}

}  // namespace memory
