// Mmu: and the seam's verbs of translation on the host.
// SPDX-License-Identifier: MIT
#include "mm/host/mmu.hpp"

#include <shared_mutex>
#include <unordered_map>

#include "mm/base/sync.hpp"
#include "mm/host/cpu.hpp"

namespace memory::host {

namespace {

std::shared_mutex registry_lock;
std::unordered_map<const PerCpu*, Mmu*> registry;  // whose CPU a PerCpu is

}  // namespace

Mmu::Mmu(memory::Machine& machine, PageLevel top) : machine_(machine), kind_{.table = {}, .top = top} {
  const std::unique_lock hold(registry_lock);
  for (unsigned n = 0; n < machine.cpu_count(); ++n) registry[&machine.cpu(n)] = this;
}

Mmu::~Mmu() {
  const std::unique_lock hold(registry_lock);
  for (unsigned n = 0; n < machine_.cpu_count(); ++n) registry.erase(&machine_.cpu(n));
}

Mmu* Mmu::here() {
  const std::shared_lock hold(registry_lock);
  const auto found = registry.find(&platform::percpu());
  return found == registry.end() ? nullptr : found->second;
}

Mmu::Cpu& Mmu::cpu() { return cpus_[platform::percpu().number]; }

// ---- access -----------------------------------------------------------------------------------------------------

Result<PhysAddr> Mmu::access(VirtAddr at, Use use, Mode mode) {
  Cpu& here = cpu();
  const std::scoped_lock hold(here.lock);
  return translate(here, at, use, mode);
}

Result<std::uint64_t> Mmu::load(VirtAddr at, Mode mode) {
  Cpu& here = cpu();
  const std::scoped_lock hold(here.lock);
  const PhysAddr where = TRY(translate(here, at, Use::read, mode));
  const Window window = machine_.frames().open(frame_at(where));
  const auto* word =
      reinterpret_cast<const std::atomic<std::uint64_t>*>(window.bytes() + where.value % kPageSize);
  return word->load(std::memory_order_relaxed);
}

Result<void> Mmu::store(VirtAddr at, std::uint64_t value, Mode mode) {
  Cpu& here = cpu();
  const std::scoped_lock hold(here.lock);
  const PhysAddr where = TRY(translate(here, at, Use::write, mode));
  const Window window = machine_.frames().open(frame_at(where));
  auto* word = reinterpret_cast<std::atomic<std::uint64_t>*>(window.bytes() + where.value % kPageSize);
  word->store(value, std::memory_order_relaxed);
  return {};
}

Result<PhysAddr> Mmu::translate(Cpu& cpu, VirtAddr at, Use use, Mode mode) {
  if (!kind_.canonical(at)) return Error::invalid;
  const Page* page = remembered(cpu, at);
  // A write through a translation that was not yet written to goes to the tables, to set D.
  Page found = page != nullptr ? *page : Page{};
  if (page == nullptr || (use == Use::write && page->rights.allow(use, mode) && !page->dirty))
    found = TRY(walk(cpu, at, use, mode));
  if (!found.rights.allow(use, mode)) return Error::no_access;
  return found.physical + (at.value & (bytes_at(found.level) - 1));
}

const Mmu::Page* Mmu::remembered(const Cpu& cpu, VirtAddr at) const {
  for (const int space : {static_cast<int>(raw(cpu.space)), kGlobal})
    for (PageLevel level = PageLevel::page; level <= PageLevel::one_gib; level = above(level)) {
      const auto found = cpu.pages.find({space, level, at.value >> shift_at(level)});
      if (found != cpu.pages.end()) return &found->second;
    }
  return nullptr;
}

// Through frames that are memory: a freed one is poisoned, and ASan sees who walks there.
AtomicEntry* Mmu::entry_of(PhysAddr table, PageLevel level, VirtAddr at) {
  const FrameNumber number = frame_at(table);
  if (!machine_.frames().has(number)) return nullptr;
  auto* entries = reinterpret_cast<AtomicEntry*>(machine_.frames().open(number).bytes());
  return &entries[index_at(level, at)];
}

// Sets A, or A and D, unless the entry changes meanwhile: then what it became counts.
PageEntry Mmu::note(AtomicEntry& entry, std::uint64_t bits) {
  PageEntry seen = entry.load();
  while (seen.present() && (seen.bits() & bits) != bits &&
         !entry.replace(seen, PageEntry(seen.bits() | bits)))
    continue;
  return seen.present() ? PageEntry(seen.bits() | bits) : seen;
}

Result<Mmu::Page> Mmu::walk(Cpu& cpu, VirtAddr at, Use use, Mode mode) {
  walks_.fetch_add(1, std::memory_order_relaxed);
  const int space = static_cast<int>(raw(cpu.space));
  PageLevel level = kind_.top;
  Table here{cpu.root, {}};
  for (PageLevel start = PageLevel::page; start != kind_.top;
       start = above(start)) {  // the lowest table it remembers
    const auto found = cpu.tables.find({space, start, at.value >> shift_at(above(start))});
    if (found == cpu.tables.end()) continue;
    level = start;
    here = found->second;
    break;
  }
  for (;; level = below(level)) {
    AtomicEntry* const place = entry_of(here.table, level, at);
    if (place == nullptr) return Error::invalid;
    PageEntry entry = place->load();
    if (!entry.present()) return Error::not_found;
    const Rights rights{.write = here.rights.write && entry.writable(),
                        .user = here.rights.user && entry.user(),
                        .execute = here.rights.execute && entry.executable()};
    const bool maps = entry.maps(level);
    if (maps && level > PageLevel::one_gib) return Error::invalid;
    if (maps && !entry.address(level).aligned_to(bytes_at(level))) return Error::invalid;
    // A is set on the way; D in what maps, by a write that is allowed.
    const bool writes = maps && use == Use::write && rights.allow(use, mode);
    if (maps && !rights.allow(use, mode)) return Error::no_access;
    const PageEntry noted = note(*place, PageEntry::kAccessed | (writes ? PageEntry::kDirty : 0));
    if ((noted.bits() | PageEntry::kAccessed | PageEntry::kDirty) !=
        (entry.bits() | PageEntry::kAccessed | PageEntry::kDirty))
      return walk(cpu, at, use, mode);  // somebody changed it: once more
    if (!maps) {
      here = {entry.address(), rights};
      cpu.tables[{space, below(level), at.value >> shift_at(level)}] = here;
      continue;
    }
    const Page page{
        .physical = entry.address(level), .level = level, .rights = rights, .dirty = noted.dirty()};
    cpu.pages[{entry.global() ? kGlobal : space, level, at.value >> shift_at(level)}] = page;
    return page;
  }
}

// ---- forgetting ---------------------------------------------------------------------------------------------------

void Mmu::forget(Cpu& cpu, SpaceId space, VirtAddr page) {
  const int number = static_cast<int>(raw(space));
  std::erase_if(cpu.pages, [&](const auto& known) {
    const auto& [owner, level, at] = known.first;
    return (owner == number || owner == kGlobal) && at == page.value >> shift_at(level);
  });
  std::erase_if(cpu.tables, [&](const auto& known) { return std::get<0>(known.first) == number; });
}

void Mmu::forget(Cpu& cpu, SpaceId space) {
  const int number = static_cast<int>(raw(space));
  const bool all = space == SpaceId::kernel;
  std::erase_if(cpu.pages, [&](const auto& known) { return all || std::get<0>(known.first) == number; });
  std::erase_if(cpu.tables, [&](const auto& known) { return all || std::get<0>(known.first) == number; });
}

void Mmu::load_root(PhysAddr root, SpaceId space) {
  Cpu& here = cpu();
  const std::scoped_lock hold(here.lock);
  here.root = root;
  here.space = space;
}

void Mmu::flush_page(SpaceId space, VirtAddr page) {
  Cpu& here = cpu();
  const std::scoped_lock hold(here.lock);
  forget(here, space, page);
}

void Mmu::flush_space(SpaceId space) {
  Cpu& here = cpu();
  const std::scoped_lock hold(here.lock);
  forget(here, space);
}

void Mmu::flush_others(SpaceId space, std::span<const VirtAddr> pages, std::uint64_t cpu_mask) {
  if (platform::held_spin().depth != 0) platform::panic("a shootdown with a spin lock held");
  if (!interrupts_are_on()) platform::panic("a shootdown with interrupts off");
  const unsigned self = platform::percpu().number;
  for (unsigned n = 0; n < cpus_.size(); ++n) {
    if (n == self || (cpu_mask >> n & 1) == 0) continue;
    if (n >= machine_.cpu_count()) platform::panic("a shootdown names a CPU that does not exist");
    if (hook_) hook_(n);
    const std::scoped_lock hold(cpus_[n].lock);
    for (const VirtAddr page : pages) forget(cpus_[n], space, page);
    if (pages.empty()) forget(cpus_[n], space);
    shootdowns_.fetch_add(1, std::memory_order_relaxed);
  }
}

// ---- coherence ----------------------------------------------------------------------------------------------------

// Whether the tables, from the CPU's root down, say of the key what it remembers: a page, or a table on the way.
bool Mmu::true_now(const Cpu& cpu, const Key& key, const Page* page, const Table* table) {
  const auto& [space, target, number] = key;
  const VirtAddr at = kind_.canonical_form(number << shift_at(page != nullptr ? target : above(target)));
  Table here{cpu.root, {}};
  for (PageLevel level = kind_.top;; level = below(level)) {
    if (table != nullptr && level == target)
      return here.table == table->table && here.rights == table->rights;
    AtomicEntry* const place = entry_of(here.table, level, at);
    if (place == nullptr) return false;
    const PageEntry entry = place->load();
    if (!entry.present()) return false;
    const Rights rights{.write = here.rights.write && entry.writable(),
                        .user = here.rights.user && entry.user(),
                        .execute = here.rights.execute && entry.executable()};
    if (entry.maps(level))
      return page != nullptr && level == target && entry.address(level) == page->physical &&
             rights == page->rights;
    here = {entry.address(), rights};
  }
}

bool Mmu::coherent() {
  for (Cpu& cpu : cpus_) {
    const std::scoped_lock hold(cpu.lock);
    // Of a space that is not loaded here the root is not known: whoever asks loads it first.
    const auto known = [&](const Key& key) {
      return std::get<0>(key) == kGlobal || std::get<0>(key) == static_cast<int>(raw(cpu.space));
    };
    for (const auto& [key, page] : cpu.pages)
      if (known(key) && !true_now(cpu, key, &page, nullptr)) return false;
    for (const auto& [key, table] : cpu.tables)
      if (known(key) && !true_now(cpu, key, nullptr, &table)) return false;
  }
  return true;
}

}  // namespace memory::host

// ---- the seam -------------------------------------------------------------------------------------------------------

namespace memory::platform {

void load_root(PhysAddr root, SpaceId space) {
  if (host::Mmu* const mmu = host::Mmu::here()) mmu->load_root(root, space);
}
void flush_page(SpaceId space, VirtAddr page) {
  if (host::Mmu* const mmu = host::Mmu::here()) mmu->flush_page(space, page);
}
void flush_space(SpaceId space) {
  if (host::Mmu* const mmu = host::Mmu::here()) mmu->flush_space(space);
}
void flush_others(SpaceId space, std::span<const VirtAddr> pages, std::uint64_t cpu_mask) {
  if (host::Mmu* const mmu = host::Mmu::here()) mmu->flush_others(space, pages, cpu_mask);
}

}  // namespace memory::platform
