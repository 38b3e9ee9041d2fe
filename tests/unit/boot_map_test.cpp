// The kernel's page tables, read back by a walker of the test's own that knows only what the manual says.
// SPDX-License-Identifier: MIT
#include "mm/virtual/boot_map.hpp"

#include "mm/base/random.hpp"
#include "mm/virtual/kernel_space.hpp"
#include "tests/unit/world.hpp"

using namespace memory;

namespace {

// What a table walk finds at a virtual address. Intel SDM volume 3A, section 4.5.4.
struct Found {
  bool present = false;
  std::uint64_t physical = 0;
  std::uint64_t page = 0;  // bytes that the leaf maps
  bool write = false;
  bool execute = false;
};

// RAM from physical address 0, with the lowest frames given to the early allocator: all that the tables need.
struct Ram {
  std::byte* bytes = nullptr;
  EarlyAllocator* early = nullptr;

  explicit Ram(std::uint64_t frames) {
    const auto room = unit::storage((frames + 1) * kPageSize);
    BootInfo* const info = unit::fresh<BootInfo>();
    if (room.empty() || info == nullptr) return;
    __builtin_memset(room.data(), 0xa5, room.size());  // frames come as they are
    bytes = room.data();
    info->memory[0] = {unit::frames(1, frames + 1), MemoryKind::available};
    info->memory_ranges = 1;
    early = unit::fresh<EarlyAllocator>(*info, PhysAddr{room.size()});
  }
  bool ok() const { return early != nullptr; }
  std::uint64_t entry(std::uint64_t table, unsigned index) const {
    std::uint64_t value;
    __builtin_memcpy(&value, bytes + table + 8 * index, 8);
    return value;
  }

  // `top`: the shift of the root's entries, 39 or, with five levels, 48.
  Found walk(PhysAddr root, std::uint64_t at, int top = 39) const {
    constexpr std::uint64_t kAddress = 0x000f'ffff'ffff'f000;
    std::uint64_t table = root.value;
    Found found{.write = true, .execute = true};
    for (int shift = top; shift >= 12; shift -= 9) {
      const std::uint64_t word = entry(table, at >> shift & 511);
      if ((word & 1) == 0) return {};
      found.write = found.write && (word & 2) != 0;
      found.execute = found.execute && word >> 63 == 0;
      if (shift == 12 || (shift < 39 && (word & 0x80) != 0)) {
        found.present = true;
        found.page = std::uint64_t{1} << shift;
        found.physical = (word & kAddress & ~(found.page - 1)) | (at & (found.page - 1));
        return found;
      }
      table = word & kAddress;
    }
    return {};
  }
};

// Everything that is mapped, in bytes, by which window it lies in.
struct Sums {
  std::uint64_t direct = 0;
  std::uint64_t frames = 0;
  std::uint64_t blocks = 0;
  std::uint64_t image = 0;
  std::uint64_t elsewhere = 0;
  std::uint64_t write_and_execute = 0;
  std::uint64_t leaves[3] = {};  // 4 KiB, 2 MiB, 1 GiB
};

void sum_table(const Ram& ram, std::uint64_t table, int shift, std::uint64_t base, Sums& sums) {
  for (unsigned index = 0; index < 512; ++index) {
    const std::uint64_t word = ram.entry(table, index);
    if ((word & 1) == 0) {
      if (word != 0) ++sums.elsewhere;  // an absent entry is a cleared one
      continue;
    }
    std::uint64_t at = base | std::uint64_t{index} << shift;
    if (shift == 39 && index >= 256) at |= 0xffff'0000'0000'0000;
    const bool leaf = shift == 12 || (shift < 39 && (word & 0x80) != 0);
    if (!leaf) {
      sum_table(ram, word & 0x000f'ffff'ffff'f000, shift - 9, at, sums);
      continue;
    }
    const std::uint64_t bytes = std::uint64_t{1} << shift;
    ++sums.leaves[(shift - 12) / 9];
    if ((word & 2) != 0 && word >> 63 == 0) ++sums.write_and_execute;
    if (at >= kernel_space::kImage.value)
      sums.image += bytes;
    else if (at >= kernel_space::kPageblocks.value)
      sums.blocks += bytes;
    else if (at >= kernel_space::kFrameArray.value)
      sums.frames += bytes;
    else if (at >= kernel_space::kDirectMap.value)
      sums.direct += bytes;
    else
      sums.elsewhere += bytes;
  }
}

constexpr std::uint64_t kText = kernel_space::kImage.value + 0x10'0000;
constexpr ImageSection kSections[] = {
    {VirtAddr{kText}, VirtAddr{kText + 0x3000}, PhysAddr{0x10'0000}, Access::read_execute},
    {VirtAddr{kText + 0x3000}, VirtAddr{kText + 0x5000}, PhysAddr{0x10'3000}, Access::read},
    {VirtAddr{kText + 0x5000}, VirtAddr{kText + 0xa000}, PhysAddr{0x10'5000}, Access::read_write},
};
constexpr VirtAddr kGuards[] = {VirtAddr{kText + 0x6000}, VirtAddr{kText + 0x9000}};
constexpr KernelImage kImage{.sections = kSections, .guard_pages = kGuards};

constexpr PhysAddr kAll{64_GiB};  // no memory is kept out of the direct map

BootInfo* info_with(std::span<const PhysRange> memory) {
  BootInfo* const info = unit::fresh<BootInfo>();
  if (info == nullptr) return nullptr;
  for (const PhysRange range : memory) info->memory[info->memory_ranges++] = {range, MemoryKind::available};
  return info;
}

}  // namespace

TEST(boot_map, the_direct_map_shows_text_and_constants_read_only) {
  Ram ram(64);
  constexpr PhysRange kMemory[] = {{PhysAddr{0xf'e000}, PhysAddr{0x40'0000}}};
  BootInfo* const info = info_with(kMemory);
  ASSERT(ram.ok() && info != nullptr);
  auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::two_mib);
  ASSERT(map.ok());
  BootMap made = map.take();
  ASSERT(made.map_kernel(kImage, *info, kAll).ok());
  for (std::uint64_t at = 0xf'e000; at < 0x40'0000; at += 0x1000) {
    const Found found = ram.walk(made.root(), kernel_space::kDirectMap.value + at);
    EXPECT(found.present && found.physical == at && !found.execute);
    EXPECT_EQ(found.write, at < 0x10'0000 || at >= 0x10'5000);
    EXPECT_EQ(found.page, at < 0x20'0000 ? 4_KiB : 2_MiB);
  }
  EXPECT(!ram.walk(made.root(), kernel_space::kDirectMap.value + 0xf'dfff).present);
}

TEST(boot_map, maps_the_image_by_section_with_write_xor_execute_and_guard_pages) {
  Ram ram(64);
  BootInfo* const info = info_with({});
  ASSERT(ram.ok() && info != nullptr);
  auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::two_mib);
  ASSERT(map.ok());
  BootMap made = map.take();
  ASSERT(made.map_kernel(kImage, *info, kAll).ok());
  for (std::uint64_t offset = 0; offset < 0xa000; offset += 0x1000) {
    const Found found = ram.walk(made.root(), kText + offset);
    const bool guard = offset == 0x6000 || offset == 0x9000;
    EXPECT_EQ(found.present, !guard);
    if (guard) continue;
    EXPECT_EQ(found.physical, 0x10'0000 + offset);
    EXPECT_EQ(found.page, 4096u);
    EXPECT_EQ(found.execute, offset < 0x3000);
    EXPECT_EQ(found.write, offset >= 0x5000);
  }
  EXPECT(!ram.walk(made.root(), kText - 1).present);
  EXPECT(!ram.walk(made.root(), kText + 0xa000).present);
  Sums sums;
  sum_table(ram, made.root().value, 39, 0, sums);
  EXPECT_EQ(sums.image, 8 * 4_KiB);
  EXPECT_EQ(sums.direct + sums.frames + sums.blocks + sums.elsewhere, 0u);
}

TEST(boot_map, maps_available_memory_with_the_largest_pages_that_fit) {
  static constexpr PhysRange kMemory[] = {
      {PhysAddr{0x1000}, PhysAddr{0x9f000}},                         // odd edges: 4 KiB pages only
      {PhysAddr{1_MiB}, PhysAddr{5_MiB + 0x3000}},                   // 2 MiB pages inside
      {PhysAddr{1_GiB - 2_MiB - 0x1000}, PhysAddr{2_GiB + 0x1000}},  // a 1 GiB page inside
  };
  for (const PageLevel largest : {PageLevel::two_mib, PageLevel::one_gib}) {
    Ram ram(2600);  // the frame array of 1 GiB takes 8 MiB
    BootInfo* const info = info_with(kMemory);
    ASSERT(ram.ok() && info != nullptr);
    auto map = BootMap::create(*ram.early, ram.bytes, largest);
    ASSERT(map.ok());
    BootMap made = map.take();
    ASSERT(made.map_kernel(kImage, *info, kAll).ok());

    Sums sums;
    sum_table(ram, made.root().value, 39, 0, sums);
    EXPECT_EQ(sums.direct, kMemory[0].bytes() + kMemory[1].bytes() + kMemory[2].bytes());
    EXPECT_EQ(sums.elsewhere, 0u);
    EXPECT_EQ(sums.write_and_execute, 0u);
    EXPECT_EQ(sums.leaves[2], largest == PageLevel::one_gib ? 1u : 0u);
    EXPECT_EQ(sums.leaves[1], largest == PageLevel::one_gib ? 2u : 514u);
    // Pageblocks 0-2, 510 (its last 4 KiB are present), 511 and 512-1024: 16 KiB of frames each.
    EXPECT_EQ(sums.frames, (3 + 2 + 513) * 16_KiB);
    EXPECT_EQ(sums.blocks, (1 + 1 + 17) * 4_KiB);  // 32 pageblocks a page: 0, 480-511, 512-1024

    for (const PhysRange& range : kMemory) {
      for (const std::uint64_t at :
           {range.first.value, range.first.value + range.bytes() / 2, range.end.value - 1}) {
        const Found found = ram.walk(made.root(), kernel_space::kDirectMap.value + at);
        EXPECT(found.present && !found.execute);
        EXPECT_EQ(found.write,
                  at < 0x10'0000 || at >= 0x10'5000);  // the image's constants are shown read-only
        EXPECT_EQ(found.physical, at);
      }
      EXPECT(!ram.walk(made.root(), kernel_space::kDirectMap.value + range.end.value).present);
      EXPECT(!ram.walk(made.root(), kernel_space::kDirectMap.value + range.first.value - 1).present);
    }
    EXPECT(!ram.walk(made.root(), 0).present);
    EXPECT(!ram.walk(made.root(), kernel_space::kImage.value).present);
  }
}

TEST(boot_map, shows_firmwares_tables_read_only_and_no_device) {
  Ram ram(64);
  BootInfo* const info = unit::fresh<BootInfo>();
  ASSERT(ram.ok() && info != nullptr);
  const auto add = [&](std::uint64_t first, std::uint64_t end, MemoryKind kind) {
    info->memory[info->memory_ranges++] = {{PhysAddr{first}, PhysAddr{end}}, kind};
  };
  add(0x1000, 0x9f000, MemoryKind::available);
  add(0x9f000, 0xa0000, MemoryKind::reserved);    // touches memory below
  add(0xf0000, 0x10'0000, MemoryKind::reserved);  // above
  add(0x10'0000, 0x20'0000, MemoryKind::available);
  add(0x20'0000, 0x20'1000, MemoryKind::acpi_nvs);
  add(0x20'1000, 0x20'2000, MemoryKind::reserved);  // touches memory of another kind
  add(0x30'0000, 0x60'0000, MemoryKind::acpi_reclaimable);
  add(0x60'0000, 0x60'1000, MemoryKind::bad);
  add(0x60'1000, 0x60'2000, MemoryKind::reserved);      // touches only what is broken
  add(0xb000'0000, 0xc000'0000, MemoryKind::reserved);  // alone: a device
  add(0xc100'0000, 0xc200'0000, MemoryKind::held);
  add(0xfffc'0000, 0x1'0000'0000, MemoryKind::reserved);  // a flash chip
  add(0x1'0000'0000, 0x1'4000'0000, MemoryKind::held);
  auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::one_gib);
  ASSERT(map.ok());
  BootMap made = map.take();
  ASSERT(made.map_kernel(kImage, *info, kAll).ok());
  for (std::size_t i = 0; i < info->memory_ranges; ++i) {
    const bool mapped = i < 7;
    const bool write = i == 0 || i == 3;
    const PhysRange range = info->memory[i].range;
    for (const std::uint64_t at : {range.first.value, range.end.value - 1}) {
      const Found found = ram.walk(made.root(), kernel_space::kDirectMap.value + at);
      EXPECT_EQ(found.present, mapped);
      const bool constant = at >= 0x10'0000 && at < 0x10'5000;  // of the image
      EXPECT(!mapped || (found.physical == at && found.write == (write && !constant) && !found.execute));
    }
  }
  Sums sums;
  sum_table(ram, made.root().value, 39, 0, sums);
  EXPECT_EQ(sums.frames, 16_KiB);  // 2 MiB of memory are described, and nothing of the firmware's
  EXPECT_EQ(sums.leaves[1], 1u);   // of the reclaimable range
}

TEST(boot_map, backs_the_frame_array_with_cleared_frames_of_its_own) {
  static constexpr PhysRange kMemory[] = {{PhysAddr{4_MiB}, PhysAddr{6_MiB}}};
  Ram ram(64);
  BootInfo* const info = info_with(kMemory);
  ASSERT(ram.ok() && info != nullptr);
  auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::two_mib);
  ASSERT(map.ok());
  BootMap made = map.take();
  ASSERT(made.map_kernel(kImage, *info, kAll).ok());
  const std::uint64_t first = kernel_space::kFrameArray.value + 1024 * sizeof(Frame);
  std::uint64_t last_page = 0;
  for (std::uint64_t at = first; at < first + 512 * sizeof(Frame); at += 4096) {
    const Found found = ram.walk(made.root(), at);
    ASSERT(found.present && found.write && !found.execute);
    EXPECT(found.physical != last_page);
    last_page = found.physical;
    for (unsigned byte = 0; byte < 4096; ++byte)
      if (ram.bytes[found.physical + byte] != std::byte{0}) unit::fail("not cleared", __FILE__, __LINE__);
  }
  EXPECT(!ram.walk(made.root(), first - 1).present);
  EXPECT(!ram.walk(made.root(), first + 512 * sizeof(Frame)).present);
  const Found blocks = ram.walk(made.root(), kernel_space::kPageblocks.value + 2 * sizeof(Pageblock));
  EXPECT(blocks.present && blocks.write && !blocks.execute);
}

TEST(boot_map, maps_nothing_twice) {
  Ram ram(64);
  ASSERT(ram.ok());
  auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::one_gib);
  ASSERT(map.ok());
  BootMap made = map.take();
  const VirtAddr at = kernel_space::kDirectMap;
  EXPECT_EQ(made.map(at + 2_MiB, PhysAddr{2_MiB}, 2_MiB, Access::read_write).error(), Error::ok);
  EXPECT_EQ(made.map(at + 2_MiB, PhysAddr{2_MiB}, 2_MiB, Access::read).error(), Error::exists);
  EXPECT_EQ(made.map(at + 3_MiB, PhysAddr{1_MiB}, 4_KiB, Access::read).error(),
            Error::exists);  // under a 2 MiB page
  EXPECT_EQ(made.back(at + 3_MiB, 4_KiB).error(), Error::exists);
  EXPECT_EQ(made.map(at + 6_MiB, PhysAddr{0}, 4_KiB, Access::read).error(), Error::ok);
  EXPECT_EQ(made.map(at + 6_MiB, PhysAddr{2_MiB}, 2_MiB, Access::read).error(),
            Error::exists);                   // over a table
  EXPECT(made.back(at + 6_MiB, 8_KiB).ok());  // what is there stays as it is
  EXPECT_EQ(ram.walk(made.root(), at.value + 6_MiB).physical, 0u);
  EXPECT(!ram.walk(made.root(), at.value + 6_MiB).write);
}

TEST(boot_map, reaches_the_last_page_of_the_address_space) {
  Ram ram(16);
  ASSERT(ram.ok());
  auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::two_mib);
  ASSERT(map.ok());
  BootMap made = map.take();
  const std::uint64_t last = 0xffff'ffff'ffff'f000;
  EXPECT(made.map(VirtAddr{last - 0x1000}, PhysAddr{0x7000}, 0x1000, Access::read).ok());
  EXPECT(made.back(VirtAddr{last}, 0x1000).ok());
  EXPECT(ram.walk(made.root(), last).present);
  EXPECT_EQ(ram.walk(made.root(), last - 1).physical, 0x7fffu);
}

TEST(boot_map, refuses_parts_of_pages) {
  Ram ram(16);
  ASSERT(ram.ok());
  auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::two_mib);
  ASSERT(map.ok());
  BootMap made = map.take();
  EXPECT_PANIC((void)made.map(VirtAddr{0x1001}, PhysAddr{0}, 4_KiB, Access::read), "aligned");
  EXPECT_PANIC((void)made.map(VirtAddr{0x1000}, PhysAddr{0x10}, 4_KiB, Access::read), "aligned");
  EXPECT_PANIC((void)made.map(VirtAddr{0x1000}, PhysAddr{0}, 100, Access::read), "bytes");
  EXPECT_PANIC((void)made.back(VirtAddr{0x1000}, 100), "bytes");
}

TEST(boot_map, five_levels_put_one_table_above_the_same_map) {
  static constexpr PhysRange kMemory[] = {{PhysAddr{0x1000}, PhysAddr{0x9f000}},
                                          {PhysAddr{1_MiB}, PhysAddr{9_MiB}}};
  BootInfo* const info = info_with(kMemory);
  Ram four(64), five(64);
  ASSERT(four.ok() && five.ok() && info != nullptr);
  auto lower = BootMap::create(*four.early, four.bytes, PageLevel::two_mib);
  auto higher = BootMap::create(*five.early, five.bytes, PageLevel::two_mib, PageLevel::tib_256);
  ASSERT(lower.ok() && higher.ok());
  BootMap with_four = lower.take();
  BootMap with_five = higher.take();
  ASSERT(with_four.map_kernel(kImage, *info, kAll).ok() && with_five.map_kernel(kImage, *info, kAll).ok());
  EXPECT(with_five.tree().top == PageLevel::tib_256 && with_four.tree().top == PageLevel::gib_512);
  EXPECT_EQ(five.early->allocated_frames(), four.early->allocated_frames() + 1);

  const std::uint64_t root = with_five.root().value;
  for (unsigned index = 0; index < 511; ++index) EXPECT_EQ(five.entry(root, index), 0u);
  const std::uint64_t below = five.entry(root, 511);  // everything from 0xff00'0000'0000'0000 on
  EXPECT((below & 1) != 0 && (below & 0x80) == 0 && below >> 63 == 0);
  Sums first, second;
  sum_table(four, with_four.root().value, 39, 0, first);
  sum_table(five, below & 0x000f'ffff'ffff'f000, 39, 0, second);
  EXPECT(first.direct == second.direct && first.image == second.image && first.frames == second.frames &&
         first.blocks == second.blocks && second.elsewhere + second.write_and_execute == 0);

  Random random{unit::seed()};
  constexpr VirtAddr kWindows[] = {kernel_space::kDirectMap, kernel_space::kFrameArray,
                                   kernel_space::kPageblocks, VirtAddr{kText}};
  for (unsigned n = 0; n < 400; ++n) {
    const std::uint64_t at = kWindows[n % 4].value + random.below(n % 4 == 0 ? 10_MiB : 64_KiB);
    const Found here = four.walk(with_four.root(), at);
    const Found there = five.walk(with_five.root(), at, 48);
    EXPECT(here.present == there.present && here.page == there.page && here.write == there.write &&
           here.execute == there.execute);
    if (n % 4 == 0 || n % 4 == 3)
      EXPECT_EQ(here.physical, there.physical);  // the others are backed by any frame
  }
}

// What the kernel maps later must show in trees that copied its root: every window has its entry there.
TEST(boot_map, every_window_has_its_entry_in_the_root) {
  static constexpr PhysRange kMemory[] = {{PhysAddr{1_MiB}, PhysAddr{3_MiB}}};
  for (const int top : {39, 48}) {
    Ram ram(64);
    BootInfo* const info = info_with(kMemory);
    ASSERT(ram.ok() && info != nullptr);
    auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::two_mib,
                               top == 48 ? PageLevel::tib_256 : PageLevel::gib_512);
    ASSERT(map.ok());
    BootMap made = map.take();
    ASSERT(made.map_kernel(kImage, *info, kAll).ok());
    for (const VirtAddr window :
         {kernel_space::kDirectMap, kernel_space::kVmalloc, kernel_space::kVmallocEnd - 1,
          kernel_space::kFrameArray, kernel_space::kPageblocks, kernel_space::kImage, kernel_space::kDevices,
          kernel_space::kScratch, kernel_space::kWindows, kernel_space::kSlot})
      EXPECT((ram.entry(made.root().value, window.value >> top & 511) & 1) != 0);
  }
}

// With 0, 1, 2 ... frames to be had: out of memory at every allocation there is, then success with exactly as
// many.
TEST(boot_map, says_no_memory_wherever_frames_run_out) {
  static constexpr PhysRange kMemory[] = {{PhysAddr{4_MiB}, PhysAddr{8_MiB + 0x1000}}};
  BootInfo* const info = info_with(kMemory);
  ASSERT(info != nullptr);
  // The root; three tables to the image; three to the direct map (one of 4 KiB pages); frame array: three
  // tables and 3 x 4 frames; pageblocks: three tables and a frame; the slot: a table; devices: two tables; kernel
  // ranges: three.
  constexpr unsigned kNeeded = 1 + 3 + 3 + (3 + 12) + (3 + 1) + 1 + 2 + 3;
  for (unsigned frames = 0; frames <= kNeeded; ++frames) {
    Ram ram(frames);
    ASSERT(ram.ok());
    auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::two_mib);
    if (frames == 0) {
      EXPECT_EQ(map.error(), Error::no_memory);
      continue;
    }
    ASSERT(map.ok());
    BootMap made = map.take();
    EXPECT_EQ(made.map_kernel(kImage, *info, kAll).error(), frames < kNeeded ? Error::no_memory : Error::ok);
    EXPECT_EQ(ram.early->allocated_frames(), frames);
    Sums sums;
    sum_table(ram, made.root().value, 39, 0, sums);  // whatever is there is well formed
    EXPECT_EQ(sums.write_and_execute + sums.elsewhere, 0u);
  }
}

TEST(boot_map, memory_beyond_the_direct_map_is_described_and_not_shown) {
  static constexpr PhysRange kMemory[] = {{PhysAddr{16_MiB}, PhysAddr{48_MiB}}};
  Ram ram(200);
  BootInfo* const info = info_with(kMemory);
  ASSERT(ram.ok() && info != nullptr);
  auto map = BootMap::create(*ram.early, ram.bytes, PageLevel::two_mib);
  ASSERT(map.ok());
  BootMap made = map.take();
  ASSERT(made.map_kernel(kImage, *info, PhysAddr{24_MiB}).ok());
  EXPECT(ram.walk(made.root(), kernel_space::kDirectMap.value + 24_MiB - 1).present);
  EXPECT(!ram.walk(made.root(), kernel_space::kDirectMap.value + 24_MiB).present);
  EXPECT(ram.walk(made.root(), kernel_space::kFrameArray.value + (48_MiB / kPageSize - 1) * sizeof(Frame))
             .present);
  EXPECT(!ram.walk(made.root(), kernel_space::kSlot.value).present);
}

// What is added at run time is measured beforehand, because half a map cannot be taken back.
TEST(boot_map, never_takes_more_frames_than_it_said) {
  Ram ram(5000);
  BootInfo* const nothing = info_with({});
  BootInfo* const info = unit::fresh<BootInfo>();
  ASSERT(ram.ok() && nothing != nullptr && info != nullptr);
  info->memory_ranges = 1;
  const auto frames_for = [&ram](const BootInfo& some, PageLevel largest) -> std::uint64_t {
    const std::size_t before = ram.early->allocated_frames();
    auto map = BootMap::create(*ram.early, ram.bytes, largest);
    if (!map.ok()) return ~std::uint64_t{0};
    BootMap made = map.take();
    if (!made.map_kernel(kImage, some, kAll).ok()) return ~std::uint64_t{0};
    return ram.early->allocated_frames() - before;
  };
  Random random{unit::seed()};
  for (unsigned n = 0; n < 25; ++n) {
    const PageLevel largest = n % 2 == 0 ? PageLevel::two_mib : PageLevel::one_gib;
    const std::uint64_t first = random.below(1 << 20);
    const PhysRange memory = unit::frames(first, first + 1 + random.below(n % 3 == 0 ? 1000 : 20'000));
    info->memory[0] = {memory, MemoryKind::available};
    const std::uint64_t empty = frames_for(*nothing, largest);
    EXPECT(frames_for(*info, largest) - empty <= MapBuilder::most_frames_for(memory));
  }
}
