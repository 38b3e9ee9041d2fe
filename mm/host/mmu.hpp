// Mmu: the translation hardware of a machine's CPUs on the host. Walks, remembers, faults, and can be asked whether what it
// remembers is still true. Intel SDM volume 3A, sections 4.5 (walks), 4.6 (rights), 4.8 (A and D), 4.10 (caches).
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <functional>
#include <map>
#include <mutex>
#include <tuple>

#include "mm/machine.hpp"
#include "mm/virtual/entry.hpp"

namespace memory::host {

enum class Use : std::uint8_t { read, write, execute };
enum class Mode : std::uint8_t { supervisor, user };

// From its construction to its end the seam's flush verbs act on it when they are called on one of the machine's CPUs;
// without an Mmu they do nothing. Like hardware it remembers as much as it can: translations by space or global, and tables
// on the way to them. An access holds its CPU's lock to its end, and so does whoever makes the CPU forget: a CPU
// acknowledges between two instructions. Any number of threads.
class Mmu {
 public:
  // `top`: what CR4.LA57 says for all CPUs.
  explicit Mmu(memory::Machine& machine, PageLevel top = PageLevel::gib_512);
  ~Mmu();
  Mmu(const Mmu&) = delete;
  Mmu& operator=(const Mmu&) = delete;

  // Translates on the current CPU. A fault is an error: not_found where an entry is absent, no_access where rights are
  // missing, invalid where the address is not canonical or an entry has a reserved bit.
  Result<PhysAddr> access(VirtAddr at, Use use, Mode mode = Mode::supervisor);
  // One word of RAM at that address, read or written as one instruction does.
  Result<std::uint64_t> load(VirtAddr at, Mode mode = Mode::supervisor);
  Result<void> store(VirtAddr at, std::uint64_t word, Mode mode = Mode::supervisor);

  // Whether everything that any CPU remembers is what the tables say now. Nobody changes them meanwhile.
  bool coherent();

  // Called for each CPU that is asked to forget by another one, before it does.
  void on_shootdown(std::function<void(unsigned cpu)> hook) { hook_ = std::move(hook); }
  std::uint64_t shootdowns() const { return shootdowns_.load(); }
  std::uint64_t walks() const { return walks_.load(); }

  // The verbs, on the current CPU.
  static Mmu* here();
  void load_root(PhysAddr root, SpaceId space);
  void flush_page(SpaceId space, VirtAddr page);
  void flush_space(SpaceId space);
  void flush_others(SpaceId space, std::span<const VirtAddr> pages, std::uint64_t cpu_mask);

 private:
  struct Rights {
    bool write = true;
    bool user = true;
    bool execute = true;
    bool operator==(const Rights&) const = default;
    bool allow(Use use, Mode mode) const {
      return (mode == Mode::supervisor || user) && (use != Use::write || write) &&
             (use != Use::execute || execute);
    }
  };
  struct Page {  // a translation
    PhysAddr physical;
    PageLevel level;
    Rights rights;
    bool dirty;
  };
  struct Table {  // on the way: what is below it, and what the way there allows
    PhysAddr table;
    Rights rights;
  };
  static constexpr int kGlobal = -1;                      // in place of a space
  using Key = std::tuple<int, PageLevel, std::uint64_t>;  // space, level, address >> shift_at(level)
  struct Cpu {
    std::mutex lock;
    PhysAddr root{};
    SpaceId space = SpaceId::kernel;
    std::map<Key, Page> pages;
    std::map<Key, Table> tables;
  };

  Cpu& cpu();
  Result<PhysAddr> translate(Cpu& cpu, VirtAddr at, Use use, Mode mode);
  const Page* remembered(const Cpu& cpu, VirtAddr at) const;
  Result<Page> walk(Cpu& cpu, VirtAddr at, Use use, Mode mode);
  AtomicEntry* entry_of(PhysAddr table, PageLevel level, VirtAddr at);
  static PageEntry note(AtomicEntry& entry, std::uint64_t bits);
  bool true_now(const Cpu& cpu, const Key& key, const Page* page, const Table* table);
  static void forget(Cpu& cpu, SpaceId space, VirtAddr page);
  static void forget(Cpu& cpu, SpaceId space);

  memory::Machine& machine_;
  const PageRoot kind_;  // for its height only
  std::array<Cpu, config::max_cpus> cpus_;
  std::function<void(unsigned)> hook_;
  std::atomic<std::uint64_t> shootdowns_{0};
  std::atomic<std::uint64_t> walks_{0};
};

}  // namespace memory::host
