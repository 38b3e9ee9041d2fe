// The multiboot2 parser against whole, strange and hostile information structures.
// SPDX-License-Identifier: MIT
#include "boot/multiboot2.hpp"

#include "boot/receive.hpp"
#include "tests/unit/boot_world.hpp"

using namespace unit::boot_world;
using boot::Fatal;
using boot::Remark;

namespace {

constexpr std::uint64_t kAt = 0x1000;  // where the structure lies

// Writes the structure: Image() tags... end(), and total_size() afterwards to lie about it.
class Image {
 public:
  Image() {
    begin();
    pen_.u32(0).u32(0);
  }

  Pen& tag(std::uint32_t type, std::uint64_t size) { return pen_.align(8).u32(type).u32(size); }
  Image& entry(std::uint64_t base, std::uint64_t length, std::uint32_t type) {
    pen_.u64(base).u64(length).u32(type).u32(0);
    return *this;
  }
  // 640 KiB, the BIOS, and 63 MiB from 1 MiB on: what a small PC says.
  Image& map() {
    tag(6, 16 + 3 * 24).u32(24).u32(0);
    return entry(0, 0x9fc00, 1).entry(0x9fc00, 0x400, 2).entry(0x100000, 63 << 20, 1);
  }
  Image& module(std::uint64_t first, std::uint64_t end, std::string_view name) {
    tag(3, 16 + name.size() + 1).u32(first).u32(end).text(name).zero();
    return *this;
  }
  Image& command_line(std::string_view text) {
    tag(1, 8 + text.size() + 1).text(text).zero();
    return *this;
  }
  Image& rsdp(std::uint32_t type, std::uint64_t bytes) {
    tag(type, 8 + bytes).text("RSD PTR ").zero(bytes - 8);
    return *this;
  }
  Image& end() {
    tag(0, 8);
    return total_size(pen_.at() - kAt);
  }
  Image& total_size(std::uint64_t bytes) {
    Pen(kAt).u32(bytes);
    return *this;
  }
  Pen& pen() { return pen_; }

 private:
  Pen pen_{kAt};
};

bool parse(PhysRange kernel = kKernel, std::uint64_t at = kAt, std::uint64_t first = 0) {
  const boot::PhysView memory = view(first);
  boot::Builder builder(memory, kernel, world.map, world.info, world.report);
  return boot::receive(builder, boot::kMultiboot2Magic, PhysAddr{at}).ok();
}

bool refused(Fatal why, std::string_view needle) {
  return !parse() && world.report.failure() == why && failure_says(needle);
}

}  // namespace

TEST(multiboot2, reads_what_grub_gives) {
  Image()
      .command_line("seed=7 on_misuse=refuse")
      .map()
      .module(0x200000, 0x201234, "initramfs.cpio")
      .rsdp(14, 20)
      .rsdp(15, 36)
      .end();
  ASSERT(parse());
  const BootInfo& info = world.info;
  EXPECT(info.protocol == memory::BootProtocol::multiboot2);
  EXPECT_EQ(info.command_line(), "seed=7 on_misuse=refuse");
  EXPECT(!info.command_line_cut);
  EXPECT_EQ(info.memory_ranges, 3u);
  EXPECT_EQ(available_bytes(info), 0x9f000u + (63u << 20));
  ASSERT(info.module_count == 1);
  EXPECT_EQ(info.modules[0].name(), "initramfs.cpio");
  EXPECT(info.modules[0].range == (PhysRange{PhysAddr{0x200000}, PhysAddr{0x201234}}));
  EXPECT(is_reserved(info, 0));                                        // frame 0
  EXPECT(is_reserved(info, kAt));                                      // the structure
  EXPECT(is_reserved(info, 0x100000) && is_reserved(info, 0x17ffff));  // the kernel
  EXPECT(is_reserved(info, 0x200000) && is_reserved(info, 0x201fff));  // the module
  EXPECT(!is_reserved(info, 0x202000) && !is_reserved(info, 0x180000));
  EXPECT(info.rsdp > PhysAddr{kAt});
  EXPECT(world.bytes[info.rsdp.value - 4] == std::byte{8 + 36});  // the size of the tag with the new one
  EXPECT_EQ(world.report.notes(), 0u);
  EXPECT(boot::valid(info));
}

TEST(multiboot2, refuses_a_wrong_magic_or_address) {
  Image().map().end();
  const boot::PhysView memory = view();
  boot::Builder builder(memory, kKernel, world.map, world.info, world.report);
  EXPECT(!boot::receive(builder, 0x2badb002, PhysAddr{kAt}).ok());
  EXPECT(world.report.failure() == Fatal::unknown_protocol && failure_says("0x2badb002"));
  EXPECT(!parse(kKernel, 0));
  EXPECT(world.report.failure() == Fatal::no_information);
  EXPECT(!parse(kKernel, kBytes - 7));
  EXPECT(world.report.failure() == Fatal::information_unreadable && failure_says("first 64 KiB"));
  EXPECT(!parse(kKernel, 0xffff'ffff));
  EXPECT(world.report.failure() == Fatal::information_unreadable);
}

TEST(multiboot2, refuses_a_wrong_total_size) {
  for (const std::uint64_t size : {0ul, 7ul, 8ul, 15ul, kBytes - kAt + 1, 0xffff'fffful}) {
    Image().map().end().total_size(size);
    EXPECT(refused(Fatal::information_size, "0x1000"));
  }
}

TEST(multiboot2, a_structure_may_end_where_the_view_ends) {
  Image().map().end().total_size(kBytes - kAt);
  EXPECT(parse());
}

TEST(multiboot2, refuses_a_tag_that_is_too_short) {
  for (const std::uint32_t size : {0u, 1u, 7u}) {
    Image image;
    image.map().tag(42, size);
    image.end();
    EXPECT(refused(Fatal::tag_too_short, "tag type 42"));
  }
}

TEST(multiboot2, refuses_a_tag_that_passes_the_end) {
  Image image;
  image.map().tag(42, 17).zero(8);
  image.total_size(image.pen().at() - kAt);
  EXPECT(refused(Fatal::tag_past_end, "is 17 bytes long"));
  Image huge;
  huge.map().tag(42, 0xffff'fff8);
  huge.end();
  EXPECT(refused(Fatal::tag_past_end, "4294967288"));
}

TEST(multiboot2, refuses_a_chain_without_an_end) {
  Image image;
  image.map();
  image.total_size(image.pen().at() - kAt);
  EXPECT(refused(Fatal::no_end_tag, "96 bytes"));

  Image half;  // four bytes where eight are needed
  half.map().pen().u32(0);
  half.total_size(half.pen().at() - kAt);
  EXPECT(refused(Fatal::no_end_tag, "no end tag"));

  Image padded;  // the last tag's padding would pass the end
  padded.map().tag(42, 9).zero(1);
  padded.total_size(padded.pen().at() - kAt);
  EXPECT(refused(Fatal::no_end_tag, "no end tag"));
}

TEST(multiboot2, what_lies_behind_the_end_tag_does_not_count) {
  Image image;
  image.map().end();
  image.command_line("ghost");
  image.total_size(image.pen().at() - kAt);
  ASSERT(parse());
  EXPECT(world.info.command_line().empty());
}

TEST(multiboot2, refuses_a_missing_or_empty_map) {
  Image().end();  // the smallest structure that there is
  EXPECT(refused(Fatal::no_memory_map, "no memory map"));
  Image().command_line("no map").end();
  EXPECT(refused(Fatal::no_memory_map, "no memory map"));
  Image image;
  image.tag(6, 16).u32(24).u32(0);
  image.end();
  EXPECT(refused(Fatal::no_usable_memory, "no usable memory"));
  Image reserved;
  reserved.tag(6, 40).u32(24).u32(0);
  reserved.entry(0, 64 << 20, 2).end();
  EXPECT(refused(Fatal::no_usable_memory, "no usable memory"));
}

TEST(multiboot2, refuses_a_map_with_short_entries_or_no_header) {
  for (const std::uint32_t size : {0u, 1u, 23u}) {
    Image image;
    image.tag(6, 40).u32(size).u32(0);
    image.entry(0, 64 << 20, 1).end();
    EXPECT(refused(Fatal::map_entry_size, "24 is the least"));
  }
  Image image;
  image.tag(6, 15).u32(24).u32(0);
  image.end();
  EXPECT(refused(Fatal::map_too_short, "15 bytes"));
}

TEST(multiboot2, reads_longer_entries_and_stops_after_the_last_whole_one) {
  Image image;
  image.tag(6, 16 + 2 * 40 + 39).u32(40).u32(0);
  image.entry(0x100000, 1 << 20, 1).pen().zero(16);
  image.entry(0x200000, 1 << 20, 1).pen().zero(16);
  image.entry(0x300000, 1 << 20, 1).pen().zero(15);
  image.end();
  ASSERT(parse());
  EXPECT_EQ(available_bytes(world.info), 2u << 20);
  EXPECT(world.report.has(Remark::map_tail));
  EXPECT(some_note_says("39 bytes"));
}

TEST(multiboot2, several_maps_count_together) {
  Image image;
  image.map().map().tag(6, 40).u32(24).u32(0);
  image.entry(0x800000, 0x100000, 2).end();
  ASSERT(parse());
  EXPECT_EQ(available_bytes(world.info), 0x9f000u + (62u << 20));
  EXPECT(some_note_says("3 maps"));
}

TEST(multiboot2, tells_kinds_apart) {
  Image image;
  image.map().tag(6, 16 + 6 * 24).u32(24).u32(0);
  image.entry(0x1000'0000, 0x1000, 0).entry(0x1000'2000, 0x1000, 3).entry(0x1000'4000, 0x1000, 4);
  image.entry(0x1000'6000, 0x1000, 5).entry(0x1000'8000, 0x1000, 20).entry(0x1000'a000, 0, 1).end();
  ASSERT(parse());
  ASSERT(world.info.memory_ranges == 8);
  EXPECT(world.info.memory[3].kind == MemoryKind::reserved);
  EXPECT(world.info.memory[4].kind == MemoryKind::acpi_reclaimable);
  EXPECT(world.info.memory[5].kind == MemoryKind::acpi_nvs);
  EXPECT(world.info.memory[6].kind == MemoryKind::bad);
  EXPECT(world.info.memory[7].kind == MemoryKind::reserved);
  EXPECT(world.report.has(Remark::range_empty));
}

TEST(multiboot2, says_what_of_the_map_is_not_used) {
  Image image;
  image.map().tag(6, 16 + 2 * 24).u32(24).u32(0);
  image.entry(std::uint64_t{memory::config::max_memory_gib} << 30, 0x3000, 1);
  image.entry(~std::uint64_t{0} - 0xfff, 0x2000, 1).end();
  ASSERT(parse());
  EXPECT_EQ(world.info.bytes_above_limit, 0x3000u);
  EXPECT(some_note_says("12 KiB of usable memory above 64 GiB"));
  EXPECT(some_note_says("1 entries pass the end"));
}

TEST(multiboot2, a_fragmented_map_keeps_what_fits) {
  Image image;
  image.map().tag(6, 16 + 300 * 24).u32(24).u32(0);
  for (std::uint64_t i = 0; i < 300; ++i) image.entry((64 + 2 * i) << 20, 1 << 20, 1);
  image.end();
  ASSERT(parse());
  EXPECT_EQ(world.info.memory_ranges, world.info.memory.size());
  EXPECT(world.report.has(Remark::ranges_dropped));
  EXPECT(world.report.has(Remark::map_coarsened));
  EXPECT(boot::valid(world.info));
}

TEST(multiboot2, the_machine_is_too_small_when_the_kernel_passes_its_end) {
  Image().map().end();
  const PhysAddr ram_end{64 << 20};
  EXPECT(parse({PhysAddr{0x100000}, ram_end}));
  EXPECT(!parse({PhysAddr{0x100000}, ram_end + memory::kPageSize}));
  EXPECT(world.report.failure() == Fatal::machine_too_small);
  EXPECT(failure_says("the machine is too small: the kernel image at 0x100000 - 0x4001000"));
  EXPECT(!parse({PhysAddr{0x9e000}, PhysAddr{0xa0000}}));  // over a hole
  EXPECT(world.report.failure() == Fatal::machine_too_small);
}

TEST(multiboot2, the_structure_must_lie_in_memory_and_beside_the_kernel) {
  Image image;
  image.tag(6, 40).u32(24).u32(0);
  image.entry(0x100000, 63 << 20, 1).end();
  EXPECT(parse());  // the first MiB is memory without being said to be

  Image over;
  over.map().end();
  EXPECT(!parse({PhysAddr{kAt - 0x1000}, PhysAddr{kAt + 0x1000}}));
  EXPECT(world.report.failure() == Fatal::information_over_kernel && failure_says("0x1000"));
}

// The same bytes seen at another place, where the map knows no memory: the structure lies at 16 MiB + kAt.
TEST(multiboot2, the_structure_must_be_memory_by_its_own_map) {
  constexpr std::uint64_t kFirst = 16 << 20;
  for (const std::uint64_t size : {0x1000u, 0x1001u}) {
    Image image;
    image.tag(6, 40).u32(24).u32(0);
    image.entry(0x100000, kFirst + kAt + 0x1000 - 0x100000, 1).end().total_size(size);
    EXPECT_EQ(parse(kKernel, kFirst + kAt, kFirst), size == 0x1000);
  }
  EXPECT(!parse(kKernel, kAt, kFirst));  // before the view
  EXPECT(world.report.failure() == Fatal::information_unreadable);

  Image image;
  image.map().end();
  EXPECT(!parse(kKernel, (80 << 20) + kAt, 80 << 20));
  EXPECT(world.report.failure() == Fatal::information_outside_ram);
  EXPECT(failure_says("at 0x5001000 - 0x5001068 lies outside the memory that it describes"));
}

TEST(multiboot2, a_module_of_no_bytes_is_a_module) {
  Image().map().module(0x300000, 0x300000, "empty").module(0x110000, 0x110000, "").end();
  ASSERT(parse());
  ASSERT(world.info.module_count == 2);
  EXPECT(world.info.modules[0].range.empty());
  EXPECT_EQ(world.info.modules[0].name(), "empty");
  EXPECT_EQ(world.info.modules[1].name(), "");
  EXPECT(!is_reserved(world.info, 0x300000));
  EXPECT_EQ(world.info.modules_dropped, 0u);
}

TEST(multiboot2, refuses_modules_that_cannot_be) {
  Image image;
  image.map()
      .module(0x1000000, 0x6000000, "80 MiB in a machine of 64")
      .module(0x200000, 0x1fffff, "backwards")
      .module(0x17f000, 0x181000, "over the kernel")
      .module(0x9e000, 0xa0000, "over a hole");
  image.tag(3, 15).u32(0x200000).u32(0x201000);
  image.module(0x200000, 0x201000, "good").end();
  ASSERT(parse());
  ASSERT(world.info.module_count == 1);
  EXPECT_EQ(world.info.modules[0].name(), "good");
  EXPECT_EQ(world.info.modules_dropped, 5u);
  EXPECT(some_note_says("module 0: 0x1000000 + 80 MiB does not lie in usable memory"));
  EXPECT(some_note_says("module 1: ends at 0x1fffff, before its start 0x200000"));
  EXPECT(some_note_says("module 2: 0x17f000 - 0x181000 overlaps the kernel"));
  EXPECT(some_note_says("module 3: 0x9e000 + 8 KiB"));
  EXPECT(some_note_says("module 4: its tag of 15 bytes"));
  EXPECT(boot::valid(world.info));
}

TEST(multiboot2, modules_may_overlap_each_other_and_the_structure) {
  Image()
      .map()
      .module(0x200000, 0x203000, "one")
      .module(0x201000, 0x205000, "two")
      .module(kAt, kAt + 0x10, "the structure itself")
      .end();
  ASSERT(parse());
  EXPECT_EQ(world.info.module_count, 3u);
  EXPECT(is_reserved(world.info, 0x200000) && is_reserved(world.info, 0x204fff));
  EXPECT(boot::valid(world.info));
}

TEST(multiboot2, modules_without_room_are_counted) {
  Image image;
  image.map();
  const std::uint64_t room = world.info.modules.size();
  for (std::uint64_t i = 0; i < room + 3; ++i) image.module((2 + i) << 20, ((2 + i) << 20) + 1, "m");
  image.end();
  ASSERT(parse());
  EXPECT_EQ(world.info.module_count, room);
  EXPECT_EQ(world.info.modules_dropped, 3u);
  EXPECT(some_note_says("3 modules did not fit in the table of 16"));
}

TEST(multiboot2, names_end_with_their_tag) {
  Image image;
  image.map().tag(3, 16 + 4).u32(0x200000).u32(0x201000).text("openXXXX");
  image.tag(3, 16).u32(0x300000).u32(0x301000);
  image.module(0x400000, 0x401000, "a name of more than sixty-four characters is cut after so many of them");
  image.end();
  ASSERT(parse());
  ASSERT(world.info.module_count == 3);
  EXPECT_EQ(world.info.modules[0].name(), "open");
  EXPECT_EQ(world.info.modules[1].name(), "");
  EXPECT_EQ(world.info.modules[2].name(), "a name of more than sixty-four characters is cut after so many o");
  EXPECT(world.report.has(Remark::module_name_open) && some_note_says("module 2: its name was cut to 64"));
}

TEST(multiboot2, a_command_line_ends_with_its_tag) {
  Image image;
  image.map().tag(1, 8 + 5).text("seed=777");
  image.end();
  ASSERT(parse());
  EXPECT_EQ(world.info.command_line(), "seed=");
  EXPECT(world.report.has(Remark::command_line_open));

  Image none;
  none.map().tag(1, 8);
  none.end();
  ASSERT(parse());
  EXPECT(world.info.command_line().empty());
}

TEST(multiboot2, a_long_command_line_is_cut_before_a_word) {
  Image image;
  image.map().tag(1, 8 + 10'001);
  for (unsigned i = 0; i < 1000; ++i) image.pen().text("word=1234 ");
  image.pen().zero();
  image.end();
  ASSERT(parse());
  EXPECT(world.info.command_line_cut);
  EXPECT_EQ(world.info.command_line_size, 1019u);  // 102 words: with the next one it would be 1029
  EXPECT(world.info.command_line().ends_with(" word=1234"));
  EXPECT(some_note_says("cut to 1019 characters"));

  Image word;
  word.map().tag(1, 8 + 2001);
  for (unsigned i = 0; i < 200; ++i) word.pen().text("0123456789");
  word.pen().zero();
  word.end();
  ASSERT(parse());
  EXPECT_EQ(world.info.command_line_size, world.info.command_line_text.size());
  EXPECT(world.info.command_line_cut);
}

TEST(multiboot2, a_command_line_that_just_fits_is_whole) {
  for (const unsigned extra : {0u, 1u}) {
    const auto room = static_cast<unsigned>(world.info.command_line_text.size());
    Image image;
    image.map().tag(1, 8 + room + extra + 1);
    for (unsigned i = 0; i < room + extra; ++i) image.pen().text("x");
    image.pen().zero();
    image.end();
    ASSERT(parse());
    EXPECT_EQ(world.info.command_line_size, room);
    EXPECT_EQ(world.info.command_line_cut, extra == 1);
  }
}

TEST(multiboot2, the_first_command_line_counts) {
  Image().command_line("one").map().command_line("two").end();
  ASSERT(parse());
  EXPECT_EQ(world.info.command_line(), "one");
  EXPECT(world.report.has(Remark::command_line_repeated));
}

TEST(multiboot2, an_rsdp_must_look_like_one) {
  Image image;
  image.map().tag(15, 8 + 35).text("RSD PTR ").zero(27);
  image.tag(15, 8 + 36).text("RSD PTX ").zero(28);
  image.end();
  ASSERT(parse());
  EXPECT_EQ(world.info.rsdp.value, 0u);
  EXPECT_EQ(world.report.notes(), 2u);
  EXPECT(some_note_says("is not one"));

  Image old;
  old.map().rsdp(14, 20).rsdp(14, 20).end();
  ASSERT(parse());
  EXPECT(world.info.rsdp.value != 0);
}

TEST(multiboot2, many_notes_are_counted) {
  Image image;
  image.map();
  for (unsigned i = 0; i < 40; ++i) image.module(0x200000, 0x1fffff, "");
  image.end();
  ASSERT(parse());
  EXPECT_EQ(world.report.notes(), boot::BootReport::kNotes);
  EXPECT_EQ(world.report.notes_lost(), 40 - boot::BootReport::kNotes);
  EXPECT_EQ(world.info.modules_dropped, 40u);
}

TEST(multiboot2, data_scattered_over_too_many_ranges_is_an_error) {
  for (const std::uint64_t modules : {15u, 16u}) {
    Image image;
    image.tag(6, 16 + 9 * 24).u32(24).u32(0);
    for (std::uint64_t i = 0; i < 8; ++i) image.entry(0x2000 * i, 0x1000, 1);  // the structure covers seven
    image.entry(0x100000, 63 << 20, 1);
    for (std::uint64_t i = 0; i < modules; ++i) image.module((2 + i) << 20, ((2 + i) << 20) + 1, "");
    image.end().total_size(kBytes - kAt);
    EXPECT_EQ(parse(), modules == 15);  // and frame 0, and the kernel: 24 ranges, or one more
  }
  EXPECT(world.report.failure() == Fatal::too_scattered && failure_says("more than 24 ranges"));
}
