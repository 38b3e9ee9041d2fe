// The PVH parser against whole, strange and hostile start information.
// SPDX-License-Identifier: MIT
#include "boot/pvh.hpp"

#include "boot/receive.hpp"
#include "tests/unit/boot_world.hpp"

using namespace unit::boot_world;
using boot::Fatal;
using boot::Remark;

namespace {

constexpr std::uint64_t kStart = 0x2000;
constexpr std::uint64_t kMap = 0x3000;
constexpr std::uint64_t kModules = 0x4000;
constexpr std::uint64_t kTexts = 0x5000;

// A start information whose fields a test changes before write().
struct Start {
  std::uint64_t magic = boot::kPvhMagic;
  std::uint64_t version = 1;
  std::uint64_t modules = 0;
  std::uint64_t module_list = kModules;
  std::uint64_t command_line = 0;
  std::uint64_t rsdp = 0;
  std::uint64_t map = kMap;
  std::uint64_t entries = 3;

  Start() {
    begin();
    entry(0, 0, 0x9fc00, 1);
    entry(1, 0x9fc00, 0x400, 2);
    entry(2, 0x100000, 63 << 20, 1);
  }

  static void entry(std::uint64_t i, std::uint64_t base, std::uint64_t length, std::uint32_t type) {
    Pen(kMap + i * 24).u64(base).u64(length).u32(type).u32(0);
  }
  void module(std::uint64_t first, std::uint64_t bytes, std::uint64_t name) {
    Pen(kModules + modules++ * 32).u64(first).u64(bytes).u64(name).u64(0);
  }
  void write(std::uint64_t at = kStart) const {
    Pen(at).u32(magic).u32(version).u32(0).u32(modules).u64(module_list).u64(command_line).u64(rsdp);
    Pen(at + 40).u64(map).u32(entries).u32(0);
  }
};

bool parse(std::uint64_t at = kStart, PhysRange kernel = kKernel, std::uint64_t first = 0) {
  const boot::PhysView memory = view(first);
  boot::Builder builder(memory, kernel, world.map, world.info, world.report);
  return boot::receive(builder, boot::kPvhMagic, PhysAddr{at}).ok();
}

bool refused(const Start& start, Fatal why, std::string_view needle) {
  start.write();
  return !parse() && world.report.failure() == why && failure_says(needle);
}

}  // namespace

TEST(pvh, reads_what_qemu_gives) {
  Start start;
  start.command_line = kTexts;
  Pen(kTexts).text("seed=7").zero();
  start.module(0x200000, 0x1234, kTexts + 0x100);
  Pen(kTexts + 0x100).text("initramfs.cpio").zero();
  start.rsdp = kTexts + 0x200;
  Pen(start.rsdp).text("RSD PTR ");
  start.write();
  ASSERT(parse());
  const BootInfo& info = world.info;
  EXPECT(info.protocol == memory::BootProtocol::pvh);
  EXPECT_EQ(info.command_line(), "seed=7");
  EXPECT_EQ(available_bytes(info), 0x9f000u + (63u << 20));
  ASSERT(info.module_count == 1);
  EXPECT_EQ(info.modules[0].name(), "initramfs.cpio");
  EXPECT(info.modules[0].range == (PhysRange{PhysAddr{0x200000}, PhysAddr{0x201234}}));
  EXPECT_EQ(info.rsdp.value, start.rsdp);
  EXPECT(is_reserved(info, 0) && is_reserved(info, 0x100000) && is_reserved(info, 0x201fff));
  EXPECT(is_reserved(info, kStart) && is_reserved(info, kMap));
  EXPECT(is_reserved(info, kModules) && is_reserved(info, kTexts));
  EXPECT(!is_reserved(info, 0x1000) && !is_reserved(info, 0x202000));
  EXPECT_EQ(world.report.notes(), 0u);
  EXPECT(boot::valid(info));
}

TEST(pvh, refuses_a_wrong_magic_or_address) {
  Start start;
  start.magic = 0x336ec579;
  EXPECT(refused(start, Fatal::bad_magic, "begins with 0x336ec579"));
  EXPECT(!parse(0));
  EXPECT(world.report.failure() == Fatal::no_information);
  EXPECT(!parse(kBytes - 39));
  EXPECT(world.report.failure() == Fatal::information_unreadable);
  Start().write(kBytes - 55);  // its last byte is out of sight
  EXPECT(!parse(kBytes - 55));
  EXPECT(world.report.failure() == Fatal::information_unreadable);
  Start().write(kBytes - 56);
  EXPECT(parse(kBytes - 56));
}

TEST(pvh, refuses_version_0) {
  Start start;
  start.version = 0;
  EXPECT(refused(start, Fatal::no_map_in_version, "version 0"));
  start.version = 2;
  start.write();
  EXPECT(parse());
}

TEST(pvh, refuses_a_map_that_cannot_be) {
  Start start;
  start.entries = 0;
  EXPECT(refused(start, Fatal::no_memory_map, "no memory map"));
  start.entries = 3;
  start.map = 0;
  EXPECT(refused(start, Fatal::no_memory_map, "no memory map"));
  start.map = kMap;
  start.entries = 0xffff'ffff;
  EXPECT(refused(start, Fatal::map_unreadable, "with 4294967295 entries"));
  start.entries = (kBytes - kMap) / 24 + 1;
  EXPECT(refused(start, Fatal::map_unreadable, "beyond the first 64 KiB"));
  start.entries = 1;
  start.map = kBytes - 23;
  EXPECT(refused(start, Fatal::map_unreadable, "0xffe9"));
  start.map = ~std::uint64_t{0} - 7;  // wraps
  EXPECT(refused(start, Fatal::map_unreadable, "0xfffffffffffffff8"));
  start.map = kMap;
  Start::entry(0, 0, 64 << 20, 2);
  EXPECT(refused(start, Fatal::no_usable_memory, "no usable memory"));
}

TEST(pvh, a_map_may_end_where_the_view_ends) {
  Start start;
  start.map = kBytes - 24;
  start.entries = 1;
  Pen(start.map).u64(0).u64(64 << 20).u32(1).u32(0);
  start.write();
  EXPECT(parse());
}

TEST(pvh, tells_kinds_apart) {
  Start start;
  start.entries = 9;
  for (std::uint32_t type = 3; type <= 8; ++type)
    Start::entry(type, 0x1000'0000 + type * 0x2000, 0x1000, type);
  start.write();
  ASSERT(parse());
  ASSERT(world.info.memory_ranges == 9);
  EXPECT(world.info.memory[3].kind == MemoryKind::acpi_reclaimable);
  EXPECT(world.info.memory[4].kind == MemoryKind::acpi_nvs);
  EXPECT(world.info.memory[5].kind == MemoryKind::bad);
  EXPECT(world.info.memory[6].kind == MemoryKind::reserved);  // disabled
  EXPECT(world.info.memory[7].kind == MemoryKind::reserved);  // persistent
  EXPECT(world.info.memory[8].kind == MemoryKind::reserved);  // unknown
}

TEST(pvh, the_structures_must_lie_in_memory) {
  Start start;
  start.write();
  EXPECT(!parse(kStart, {PhysAddr{kStart}, PhysAddr{kStart + 0x1000}}));
  EXPECT(world.report.failure() == Fatal::information_over_kernel);
  EXPECT(!parse(kStart, {PhysAddr{kMap}, PhysAddr{kMap + 0x1000}}));
  EXPECT(world.report.failure() == Fatal::information_over_kernel && failure_says("0x3000"));
  EXPECT(!parse(kStart, {PhysAddr{0x3f00000}, PhysAddr{0x4001000}}));
  EXPECT(world.report.failure() == Fatal::machine_too_small);
}

// The same bytes seen from 80 MiB on, where the map knows no memory: reads would succeed, and must not count.
TEST(pvh, what_the_map_does_not_know_is_not_read) {
  constexpr std::uint64_t kFirst = 80 << 20;
  Start start;
  start.map = kFirst + kMap;
  start.write();
  EXPECT(!parse(kFirst + kStart, kKernel, kFirst));
  EXPECT(world.report.failure() == Fatal::information_outside_ram && failure_says("0x5002000"));

  Start::entry(2, 0x100000, kFirst + 0x4000 - 0x100000, 1);  // memory ends behind the map
  start.command_line = kFirst + kTexts;
  start.module_list = kFirst + kModules;
  start.module(0x200000, 0x1000, 0);
  start.write();
  ASSERT(parse(kFirst + kStart, kKernel, kFirst));
  EXPECT(world.report.has(Remark::command_line_unreadable));
  EXPECT(world.report.has(Remark::module_list_unreadable));
  EXPECT_EQ(world.info.modules_dropped, 1u);

  Start::entry(2, 0x100000, kFirst + 0x5000 - 0x100000, 1);  // and now behind the list of modules
  Pen(kModules + 16).u64(kFirst + kTexts);
  start.command_line = kFirst + 0x4ffe;  // its third character is not in memory
  Pen(0x4ffe).text("abc").zero();
  start.write();
  ASSERT(parse(kFirst + kStart, kKernel, kFirst));
  EXPECT(world.report.has(Remark::command_line_unreadable));
  ASSERT(world.info.module_count == 1);
  EXPECT_EQ(world.info.modules[0].name(), "?");
}

TEST(pvh, a_command_line_beyond_memory_is_refused) {
  for (const std::uint64_t address : {std::uint64_t{kBytes}, ~std::uint64_t{0}, std::uint64_t{1} << 40}) {
    Start start;
    start.command_line = address;
    start.write();
    ASSERT(parse());
    EXPECT(world.info.command_line().empty());
    EXPECT(world.report.has(Remark::command_line_unreadable));
  }
}

TEST(pvh, a_command_line_ends_with_the_view) {
  Start start;
  start.command_line = kBytes - 6;
  Pen(start.command_line).text("seed=7");
  start.write();
  ASSERT(parse());
  EXPECT_EQ(world.info.command_line(), "seed=7");
  EXPECT(world.report.has(Remark::command_line_open));
}

TEST(pvh, a_long_command_line_is_cut_before_a_word) {
  Start start;
  start.command_line = kTexts;
  Pen pen(kTexts);
  for (unsigned i = 0; i < 1000; ++i) pen.text("word=1234 ");
  pen.zero();
  start.write();
  ASSERT(parse());
  EXPECT(world.info.command_line_cut);
  EXPECT_EQ(world.info.command_line_size, 1019u);
  EXPECT(world.report.has(Remark::command_line_cut));
}

TEST(pvh, a_module_list_beyond_memory_is_refused) {
  Start start;
  start.modules = 0xffff'ffff;
  start.write();
  ASSERT(parse());
  EXPECT_EQ(world.info.module_count, 0u);
  EXPECT_EQ(world.info.modules_dropped, 0xffff'ffffu);
  EXPECT(some_note_says("the list of 4294967295 modules at 0x4000"));

  start.modules = 1;
  for (const std::uint64_t address : {std::uint64_t{0}, std::uint64_t{kBytes - 31}, ~std::uint64_t{0}}) {
    start.module_list = address;
    start.write();
    ASSERT(parse());
    EXPECT_EQ(world.info.modules_dropped, 1u);
    EXPECT(world.report.has(Remark::module_list_unreadable));
  }
}

TEST(pvh, refuses_modules_that_cannot_be) {
  Start start;
  start.module(0x1000000, 80 << 20, 0);                // larger than the machine
  start.module(0x200000, ~std::uint64_t{0}, 0);        // wraps
  start.module(~std::uint64_t{0} - 0xfff, 0x1000, 0);  // ends at 2^64
  start.module(0x17f000, 0x1000, 0);                   // in the kernel
  start.module(0x180000, 0x1000, 0);                   // just behind it
  start.module(0x300000, 0, 0);                        // empty
  start.write();
  ASSERT(parse());
  EXPECT_EQ(world.info.modules_dropped, 4u);
  ASSERT(world.info.module_count == 2);
  EXPECT_EQ(world.info.modules[0].range.first.value, 0x180000u);
  EXPECT(world.info.modules[1].range.empty());
  EXPECT(some_note_says("module 3: 0x17f000 - 0x180000 overlaps the kernel"));
  EXPECT(some_note_says("module 1: 0x200000 + "));
  EXPECT(boot::valid(world.info));
}

TEST(pvh, a_name_that_leads_nowhere_is_a_question_mark) {
  Start start;
  start.module(0x200000, 0x1000, std::uint64_t{1} << 40);
  start.module(0x201000, 0x1000, 0);
  start.module(0x202000, 0x1000, kBytes - 2);
  Pen(kBytes - 2).text("ab");  // no zero byte before the view ends
  start.write();
  ASSERT(parse());
  ASSERT(world.info.module_count == 3);
  EXPECT_EQ(world.info.modules[0].name(), "?");
  EXPECT_EQ(world.info.modules[1].name(), "");
  EXPECT_EQ(world.info.modules[2].name(), "ab");
  EXPECT(some_note_says("module 0: its name at 0x10000000000 cannot be read"));
}

TEST(pvh, modules_without_room_are_counted) {
  Start start;
  for (std::uint64_t i = 0; i < world.info.modules.size() + 2; ++i) start.module((2 + i) << 20, 1, 0);
  start.write();
  ASSERT(parse());
  EXPECT_EQ(world.info.module_count, world.info.modules.size());
  EXPECT_EQ(world.info.modules_dropped, 2u);
  EXPECT(world.report.has(Remark::modules_dropped));
}

TEST(pvh, an_rsdp_must_look_like_one_where_it_can_be_seen) {
  Start start;
  start.rsdp = kTexts;
  start.write();
  ASSERT(parse());
  EXPECT_EQ(world.info.rsdp.value, 0u);
  EXPECT(world.report.has(Remark::rsdp_malformed));
  start.rsdp = 0x7ffe0000;  // beyond the view
  start.write();
  ASSERT(parse());
  EXPECT_EQ(world.info.rsdp.value, 0x7ffe0000u);
}
