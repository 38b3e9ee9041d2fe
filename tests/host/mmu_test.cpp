// Page tables under the software MMU: what CPUs remember, what a flush makes them forget, and when frames go back.
// SPDX-License-Identifier: MIT
#include "mm/host/mmu.hpp"
#include "mm/host/cpu.hpp"

#include <optional>
#include <thread>
#include <vector>

#include "mm/base/random.hpp"
#include "mm/virtual/page_table.hpp"
#include "tests/unit/world.hpp"

using namespace memory;
using host::Mmu;
using host::Mode;
using host::Use;

namespace {

constexpr PhysRange kMemory[] = {unit::frames(1, 1400)};
constexpr VirtAddr kHigh{0xffff'c000'0000'0000};
constexpr VirtAddr kLow{0x1000'0000'0000};
constexpr Protection kData{.access = Access::read_write};
constexpr Protection kUser{.access = Access::read_write, .user = User::yes, .scope = Scope::local};

// A machine of some CPUs, all of which use one tree of the kernel.
struct Cpus {
  unit::World world;
  std::optional<Mmu> mmu;
  std::optional<PageTables> tables;

  explicit Cpus(unsigned cpus = 2, PageLevel top = PageLevel::gib_512)
      : world({.memory = kMemory, .cpus = cpus}) {
    if (!world.ok()) return;
    mmu.emplace(*world, top);
    tables.emplace(world->physical(), PageTables::new_root(world->physical(), top).take(),
                   PageLevel::one_gib);
    for (unsigned n = 0; n < cpus; ++n) {
      const host::Cpu here(world->cpu(n));
      tables->enter();
    }
  }
  FrameNumber frame(std::uint64_t word = 0) {
    const FrameNumber number = world->physical().allocate(Order{0}).take();
    *reinterpret_cast<std::uint64_t*>(world->frames().open(number).bytes()) = word;
    return number;
  }
  Result<void> map(VirtAddr at, FrameNumber number, Protection how = kData) {
    return tables->map(at, address_of(number), kPageSize, how);
  }
  // The word at that address, as CPU `cpu` finds it.
  Result<std::uint64_t> load(unsigned cpu, VirtAddr at) {
    const host::Cpu here(world->cpu(cpu));
    return mmu->load(at);
  }
  Result<PhysAddr> access(unsigned cpu, VirtAddr at, Use use, Mode mode = Mode::supervisor) {
    const host::Cpu here(world->cpu(cpu));
    return mmu->access(at, use, mode);
  }
  bool allocated(FrameNumber number) { return world->frames()[number].is(FrameState::allocated); }
};

}  // namespace

TEST(mmu, walks_four_and_five_levels_to_pages_of_every_size) {
  for (const PageLevel top : {PageLevel::gib_512, PageLevel::tib_256}) {
    Cpus cpus(1, top);
    ASSERT(cpus.tables->map(kHigh, PhysAddr{5_GiB + kPageSize}, kPageSize, kData).ok());
    ASSERT(cpus.tables->map(kHigh + 2_MiB, PhysAddr{6_MiB}, 2_MiB, kData).ok());
    ASSERT(cpus.tables->map(kHigh + 1_GiB, PhysAddr{8_GiB}, 1_GiB, kData).ok());
    EXPECT_EQ(cpus.access(0, kHigh + 9, Use::read).take(), PhysAddr{5_GiB + kPageSize + 9});
    EXPECT_EQ(cpus.access(0, kHigh + 4_MiB - 1, Use::read).take(), PhysAddr{8_MiB - 1});
    EXPECT_EQ(cpus.access(0, kHigh + 2_GiB - 1, Use::read).take(), PhysAddr{9_GiB - 1});
    EXPECT_EQ(cpus.access(0, kHigh + 4_MiB, Use::read).error(), Error::not_found);
    const VirtAddr beyond{0x0000'8000'0000'0000};
    EXPECT_EQ(cpus.access(0, beyond, Use::read).error(),
              top == PageLevel::gib_512 ? Error::invalid : Error::not_found);
    const std::uint64_t walks = cpus.mmu->walks();
    for (unsigned n = 0; n < 100; ++n) EXPECT(cpus.access(0, kHigh + n, Use::read).ok());
    EXPECT_EQ(cpus.mmu->walks(), walks);  // remembered
    EXPECT(cpus.mmu->coherent());
  }
}

TEST(mmu, faults_as_the_rights_say) {
  Cpus cpus(1);
  const FrameNumber frame = cpus.frame();
  ASSERT(cpus.map(kHigh, frame, {.access = Access::read}).ok());
  ASSERT(cpus.map(kHigh + kPageSize, frame, {.access = Access::read_execute}).ok());
  ASSERT(cpus.map(kLow, frame, kUser).ok());
  const struct {
    VirtAddr at;
    Use use;
    Mode mode;
    bool allowed;
  } cases[] = {{kHigh, Use::read, Mode::supervisor, true},
               {kHigh, Use::write, Mode::supervisor, false},
               {kHigh, Use::execute, Mode::supervisor, false},
               {kHigh, Use::read, Mode::user, false},
               {kHigh + kPageSize, Use::execute, Mode::supervisor, true},
               {kHigh + kPageSize, Use::write, Mode::supervisor, false},
               {kLow, Use::write, Mode::user, true},
               {kLow, Use::execute, Mode::user, false}};
  for (unsigned round = 0; round < 2; ++round)  // from the tables, then from what is remembered
    for (const auto& test : cases)
      EXPECT_EQ(cpus.access(0, test.at, test.use, test.mode).error(),
                test.allowed ? Error::ok : Error::no_access);
}

TEST(mmu, notes_what_was_used_and_what_was_written) {
  Cpus cpus(1);
  ASSERT(cpus.map(kLow, cpus.frame(), kUser).ok());
  EXPECT(!cpus.tables->query(kLow).take().accessed);
  EXPECT(cpus.access(0, kLow, Use::read).ok());
  EXPECT(cpus.tables->query(kLow).take().accessed && !cpus.tables->query(kLow).take().dirty);
  EXPECT(cpus.access(0, kLow, Use::write).ok());  // although it is remembered
  EXPECT(cpus.tables->query(kLow).take().dirty);
  const TablePath path = cpus.tables->path(kLow).take();
  for (std::size_t n = 0; n < path.count; ++n) EXPECT(path.steps[n].entry.accessed());
}

TEST(mmu, a_forgotten_flush_is_seen) {
  Cpus cpus(1);
  const FrameNumber frame = cpus.frame(0x1234);
  ASSERT(cpus.map(kHigh, frame).ok());
  EXPECT_EQ(cpus.load(0, kHigh).take(), 0x1234u);
  const TablePath path = cpus.tables->path(kHigh).take();
  auto& entry = *reinterpret_cast<AtomicEntry*>(
      cpus.world->frames().open(frame_at(path.steps[3].table)).bytes() + 8 * path.steps[3].index);
  const PageEntry before = entry.exchange(PageEntry{});
  EXPECT(cpus.load(0, kHigh).ok());  // hardware's right
  EXPECT(!cpus.mmu->coherent());
  platform::flush_page(SpaceId::kernel, kHigh);
  EXPECT(cpus.mmu->coherent());
  EXPECT_EQ(cpus.load(0, kHigh).error(), Error::not_found);
  entry.set(before);
}

TEST(mmu, unmap_is_forgotten_with_the_flush) {
  Cpus cpus;
  const FrameNumber frame = cpus.frame(7);
  ASSERT(cpus.map(kHigh, frame).ok());
  for (const unsigned cpu : {0u, 1u}) EXPECT_EQ(cpus.load(cpu, kHigh).take(), 7u);
  {
    FlushBatch flush(*cpus.tables);
    ASSERT(cpus.tables->unmap(kHigh, kPageSize, flush).ok());
    EXPECT(!cpus.mmu->coherent());
  }
  EXPECT(cpus.mmu->coherent());
  for (const unsigned cpu : {0u, 1u}) EXPECT_EQ(cpus.load(cpu, kHigh).error(), Error::not_found);
}

TEST(mmu, unmap_is_forgotten_in_every_table_and_size) {
  Cpus cpus;
  ASSERT(cpus.map(kHigh, cpus.frame(7)).ok());
  ASSERT(cpus.tables->map(kHigh + 4_MiB, PhysAddr{6_MiB}, 2_MiB, kData).ok());
  ASSERT(cpus.map(kHigh + 2_MiB, cpus.frame(8)).ok());  // the table that is remembered is not the first's
  const struct {
    VirtAddr at;
    std::uint64_t bytes;
  } pages[] = {{kHigh, kPageSize}, {kHigh + 4_MiB, 2_MiB}, {kHigh + 2_MiB, kPageSize}};
  for (const auto& page : pages)
    for (const unsigned cpu : {0u, 1u}) EXPECT(cpus.access(cpu, page.at, Use::read).ok());
  for (const auto& page : pages) {
    {
      FlushBatch flush(*cpus.tables);
      ASSERT(cpus.tables->unmap(page.at, page.bytes, flush).ok());
      EXPECT(!cpus.mmu->coherent());
    }
    EXPECT(cpus.mmu->coherent());
    for (const unsigned cpu : {0u, 1u})
      EXPECT_EQ(cpus.access(cpu, page.at, Use::read).error(), Error::not_found);
  }
}

TEST(mmu, protect_is_forgotten_with_the_flush) {
  Cpus cpus;
  ASSERT(cpus.map(kHigh, cpus.frame(7)).ok());
  for (const unsigned cpu : {0u, 1u}) EXPECT(cpus.access(cpu, kHigh, Use::write).ok());
  {
    FlushBatch flush(*cpus.tables);
    ASSERT(cpus.tables->protect(kHigh, kPageSize, {}, flush).ok());
  }
  EXPECT(cpus.mmu->coherent());
  for (const unsigned cpu : {0u, 1u})
    EXPECT_EQ(cpus.access(cpu, kHigh, Use::write).error(), Error::no_access);
}

TEST(mmu, a_split_page_is_forgotten_where_it_changed) {
  Cpus cpus;
  ASSERT(cpus.tables->map(kHigh, PhysAddr{2_MiB}, 2_MiB, kData).ok());
  for (const unsigned cpu : {0u, 1u}) EXPECT(cpus.access(cpu, kHigh + 5 * kPageSize, Use::write).ok());
  {
    FlushBatch flush(*cpus.tables);
    ASSERT(cpus.tables->protect(kHigh + 5 * kPageSize, kPageSize, {}, flush).ok());
  }
  EXPECT(cpus.mmu->coherent());
  EXPECT_EQ(cpus.access(1, kHigh + 5 * kPageSize, Use::write).error(), Error::no_access);
  EXPECT(cpus.access(1, kHigh + 6 * kPageSize, Use::write).ok());
}

TEST(mmu, frames_and_tables_go_back_after_the_last_acknowledgement) {
  Cpus cpus(3);
  const FrameNumber frame = cpus.frame(7);
  ASSERT(cpus.map(kLow, frame).ok());
  std::vector<FrameNumber> held{frame};
  const TablePath path = cpus.tables->path(kLow).take();
  for (std::size_t n = 1; n < path.count; ++n) held.push_back(frame_at(path.steps[n].table));
  for (unsigned cpu = 0; cpu < 3; ++cpu) EXPECT_EQ(cpus.load(cpu, kLow).take(), 7u);
  unsigned asked = 0;
  cpus.mmu->on_shootdown([&](unsigned cpu) {
    ++asked;
    for (const FrameNumber number : held) EXPECT(cpus.allocated(number));
    EXPECT_EQ(cpus.load(cpu, kLow).take(), 7u);  // it still remembers, and that does no harm
  });
  {
    FlushBatch flush(*cpus.tables);
    ASSERT(cpus.tables->unmap(kLow, kPageSize, flush, Unmapped::drop).ok());
  }
  EXPECT_EQ(asked, 2u);
  for (const FrameNumber number : held) EXPECT(!cpus.allocated(number));
  EXPECT(cpus.mmu->coherent());
  for (unsigned cpu = 0; cpu < 3; ++cpu) EXPECT_EQ(cpus.load(cpu, kLow).error(), Error::not_found);
  EXPECT(cpus.world->manager().valid());
}

TEST(mmu, many_pages_are_flushed_as_a_whole) {
  for (const std::size_t pages : {FlushBatch::kMostPages, FlushBatch::kMostPages + 1, std::size_t{600}}) {
    Cpus cpus;
    std::vector<FrameNumber> frames;
    for (std::size_t n = 0; n < pages; ++n) frames.push_back(cpus.frame(n));
    ASSERT(cpus.tables->map_pages(kHigh, frames, kData).ok());
    for (const unsigned cpu : {0u, 1u})
      for (std::size_t n = 0; n < pages; ++n) EXPECT_EQ(cpus.load(cpu, kHigh + n * kPageSize).take(), n);
    {
      FlushBatch flush(*cpus.tables);
      ASSERT(cpus.tables->unmap(kHigh, pages * kPageSize, flush, Unmapped::drop).ok());
    }
    EXPECT(cpus.mmu->coherent());
    EXPECT_EQ(cpus.mmu->shootdowns(), 1u);
    EXPECT_EQ(cpus.load(1, kHigh + (pages - 1) * kPageSize).error(), Error::not_found);
  }
}

TEST(mmu, only_cpus_that_use_the_space_are_asked) {
  Cpus cpus(4);
  const PageRoot root = PageTables::new_root(cpus.world->physical(), PageLevel::gib_512).take();
  PageTables other(cpus.world->physical(), root, PageLevel::one_gib, SpaceId{5});
  const auto flush_a_page = [&] {
    ASSERT(other.map(kLow, address_of(cpus.frame()), kPageSize, kUser).ok());
    FlushBatch flush(other);
    ASSERT(other.unmap(kLow, kPageSize, flush, Unmapped::drop).ok());
  };
  flush_a_page();
  EXPECT_EQ(cpus.mmu->shootdowns(), 0u);
  std::uint64_t asked = 0;
  cpus.mmu->on_shootdown([&](unsigned cpu) { asked |= 1u << cpu; });
  for (const unsigned n : {1u, 3u}) {
    const host::Cpu here(cpus.world->cpu(n));
    other.enter();
  }
  flush_a_page();
  EXPECT_EQ(asked, 0b1010u);
  {
    const host::Cpu here(cpus.world->cpu(3));
    cpus.tables->enter();
    other.leave();
  }
  asked = 0;
  flush_a_page();
  EXPECT_EQ(asked, 0b0010u);
}

TEST(mmu, spaces_with_ids_are_remembered_side_by_side) {
  Cpus cpus(1);
  Physical& physical = cpus.world->physical();
  PageTables one(physical, PageTables::new_root(physical, PageLevel::gib_512).take(), PageLevel::one_gib,
                 SpaceId{1});
  PageTables two(physical, PageTables::new_root(physical, PageLevel::gib_512).take(), PageLevel::one_gib,
                 SpaceId{2});
  ASSERT(one.map(kLow, address_of(cpus.frame(11)), kPageSize, kUser).ok());
  ASSERT(two.map(kLow, address_of(cpus.frame(22)), kPageSize, kUser).ok());
  one.enter();
  EXPECT_EQ(cpus.load(0, kLow).take(), 11u);
  two.enter();
  EXPECT_EQ(cpus.load(0, kLow).take(), 22u);
  const std::uint64_t walks = cpus.mmu->walks();
  one.enter();
  EXPECT_EQ(cpus.load(0, kLow).take(), 11u);
  EXPECT_EQ(cpus.mmu->walks(), walks);  // remembered all the while
  {
    FlushBatch flush(two);  // from a CPU that has another space loaded
    ASSERT(two.unmap(kLow, kPageSize, flush, Unmapped::drop).ok());
  }
  EXPECT_EQ(cpus.load(0, kLow).take(), 11u);
  EXPECT_EQ(cpus.mmu->walks(), walks);
  two.enter();
  EXPECT_EQ(cpus.load(0, kLow).error(), Error::not_found);
  EXPECT(cpus.mmu->coherent());
}

TEST(mmu, global_pages_stay_when_a_space_is_flushed) {
  Cpus cpus(1);
  const FrameNumber frame = cpus.frame(3);
  ASSERT(cpus.map(kHigh, frame).ok());
  ASSERT(cpus.map(kHigh + kPageSize, frame, {.scope = Scope::local}).ok());
  EXPECT(cpus.load(0, kHigh).ok() && cpus.load(0, kHigh + kPageSize).ok());
  platform::flush_space(SpaceId{9});
  std::uint64_t walks = cpus.mmu->walks();
  EXPECT(cpus.load(0, kHigh).ok() && cpus.load(0, kHigh + kPageSize).ok());
  EXPECT_EQ(cpus.mmu->walks(), walks);
  // Another space has the global one too, and not the local one.
  platform::load_root(cpus.tables->root().table, SpaceId{9});
  EXPECT(cpus.load(0, kHigh).ok());
  EXPECT_EQ(cpus.mmu->walks(), walks);
  EXPECT(cpus.load(0, kHigh + kPageSize).ok());
  EXPECT_EQ(cpus.mmu->walks(), ++walks);
  platform::flush_space(SpaceId::kernel);
  EXPECT(cpus.load(0, kHigh).ok());
  EXPECT_EQ(cpus.mmu->walks(), ++walks);
}

TEST(mmu, readers_find_the_right_frame_or_a_fault_while_pages_come_and_go) {
  constexpr unsigned kReaders = 3;
  constexpr unsigned kPages = 64;
  Cpus cpus(1 + kReaders);
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> found{0};
  std::atomic<std::uint64_t> faults{0};
  std::atomic<std::uint64_t> stale{0};
  std::vector<std::thread> readers;
  for (unsigned n = 1; n <= kReaders; ++n)
    readers.emplace_back([&, n] {
      const host::Cpu here(cpus.world->cpu(n));
      Random random(unit::seed() * 16 + n);
      for (unsigned loads = 1; !done.load(std::memory_order_relaxed); ++loads) {
        if (loads % 16 == 0)
          std::this_thread::yield();  // the lock of this TLB is unfair: the flush wants it, too
        const std::uint64_t page = random.below(kPages);
        const auto word = cpus.mmu->load(kHigh + page * kPageSize);
        if (!word.ok())
          ++faults;
        else
          ++(word.take() == 1000 + page ? found : stale);
      }
    });
  Random random(unit::seed());
  bool mapped[kPages] = {};
  for (unsigned step = 0; step < 3000; ++step) {
    const auto page = static_cast<unsigned>(random.below(kPages));
    const VirtAddr at = kHigh + page * kPageSize;
    if (!mapped[page]) {
      EXPECT(cpus.map(at, cpus.frame(1000 + page)).ok());
    } else {
      FlushBatch flush(*cpus.tables);
      EXPECT(cpus.tables->unmap(at, kPageSize, flush, Unmapped::drop).ok());
    }
    mapped[page] = !mapped[page];
    if (step % 256 == 255) std::this_thread::yield();
  }
  // Luck decides nothing: each of the two answers has come before the end.
  for (unsigned page = 0; page < kPages; ++page)
    if (!mapped[page]) EXPECT(cpus.map(kHigh + page * kPageSize, cpus.frame(1000 + page)).ok());
  while (found == 0) std::this_thread::yield();
  {
    FlushBatch flush(*cpus.tables);
    EXPECT(cpus.tables->unmap(kHigh, kPages * kPageSize, flush, Unmapped::drop).ok());
  }
  while (faults == 0) std::this_thread::yield();
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(stale.load(), 0u);
  EXPECT(cpus.mmu->coherent());
  EXPECT(cpus.tables->valid());
  EXPECT(cpus.world->manager().valid());
}

TEST(mmu, a_write_that_was_noted_is_not_lost_while_rights_change) {
  Cpus cpus;
  ASSERT(cpus.map(kLow, cpus.frame(), kUser).ok());
  std::atomic<std::uint64_t> written{0};  // rounds in which the other CPU wrote
  std::atomic<std::uint64_t> round{1};
  std::thread writer([&] {
    const host::Cpu here(cpus.world->cpu(1));
    for (std::uint64_t last = 0; last < 200;) {
      const std::uint64_t now = round.load();
      if (now == last) {
        std::this_thread::yield();
      } else if (cpus.mmu->access(kLow, Use::write, Mode::user).ok()) {
        written = last = now;
      }
    }
  });
  constexpr Protection kRead{.user = User::yes, .scope = Scope::local};
  for (std::uint64_t n = 1; n <= 200; ++n) {
    while (written.load() != n) {
      FlushBatch flush(*cpus.tables);
      EXPECT(cpus.tables->protect(kLow, kPageSize, kRead, flush).ok());
      EXPECT(cpus.tables->protect(kLow, kPageSize, kUser, flush).ok());
      flush.flush();
      std::this_thread::yield();
    }
    EXPECT(cpus.tables->query(kLow).take().dirty);
    FlushBatch flush(*cpus.tables);
    EXPECT(cpus.tables->unmap(kLow, kPageSize, flush, Unmapped::drop).ok());
    flush.flush();
    EXPECT(cpus.map(kLow, cpus.frame(), kUser).ok());  // clean again
    round = n + 1;
  }
  writer.join();
}

TEST(mmu, a_shootdown_with_a_lock_held_or_interrupts_off_is_refused) {
  Cpus cpus;
  const VirtAddr page[] = {kHigh};
  const std::uint64_t state = platform::irq_save();
  EXPECT_PANIC(platform::flush_others(SpaceId::kernel, page, 3), "interrupts off");
  platform::irq_restore(state);
  EXPECT_PANIC(platform::flush_others(SpaceId::kernel, page, 1 << 2), "does not exist");
}
