// The tables for outside readers, read as an outside reader would: by name, then compared with the compiler.
// SPDX-License-Identifier: MIT
#include "mm/layout.hpp"

#include "tests/unit/world.hpp"

using namespace memory;

namespace {

stats::Record record;  // filled by each test

template <typename Row>
std::span<const Row> rows(const stats::Table& table) {
  EXPECT_EQ(table.row_bytes, sizeof(Row));
  return {reinterpret_cast<const Row*>(table.address), table.rows};
}

const stats::TypeRow* type_named(std::string_view name) {
  for (const stats::TypeRow& row : rows<stats::TypeRow>(record.types))
    if (row.name == name) return &row;
  return nullptr;
}

const stats::FieldRow* field_of(std::string_view type, std::string_view name) {
  const stats::TypeRow* const row = type_named(type);
  if (row == nullptr) return nullptr;
  for (const stats::FieldRow& field :
       rows<stats::FieldRow>(record.fields).subspan(row->first_field, row->fields))
    if (field.name == name) return &field;
  return nullptr;
}

bool is_enum(std::string_view name) {
  for (const stats::EnumRow& row : rows<stats::EnumRow>(record.enums))
    if (row.type == name) return true;
  return false;
}

void expect_field(std::string_view type, std::string_view name, std::string_view of, std::size_t offset,
                  std::size_t bytes, std::size_t count) {
  const stats::FieldRow* const field = field_of(type, name);
  if (field == nullptr) return unit::fail(name, __FILE__, __LINE__);
  EXPECT_EQ(field->type, of);
  EXPECT_EQ(field->offset, offset);
  EXPECT_EQ(field->bytes, bytes);
  EXPECT_EQ(field->count, count);
}

}  // namespace

#define EXPECT_FIELD(type, member, of, bytes, count) \
  expect_field(#type, #member, of, offsetof(type, member), bytes, count)

TEST(layout, offsets_and_sizes_are_the_compilers) {
  layout::fill(record);
  expect_field("Frame", "references", "u32", offsetof(Frame, uses), 8, 1);
  expect_field("Frame", "mappings", "u32", offsetof(Frame, uses), 8, 1);
  EXPECT_FIELD(Frame, flags, "u8", 1, 1);
  EXPECT_FIELD(Frame, tag, "u8", 1, 1);
  EXPECT_FIELD(Frame, index, "u32", 4, 1);
  EXPECT_FIELD(Frame, prev, "u32", 4, 1);
  EXPECT_FIELD(Frame, next, "u32", 4, 1);
  EXPECT_FIELD(Frame, owner, "u64", 8, 1);
  EXPECT_FIELD(Pageblock, free, "u64", 8, 8);
  EXPECT_FIELD(Pageblock, runs, "u64", 8, 1);
  EXPECT_FIELD(Pageblock, free_frames, "u16", 2, 1);
  EXPECT_FIELD(Pageblock, list, "u8", 1, 1);
  EXPECT_FIELD(Pageblock, whole_order, "u8", 1, 1);
  EXPECT_FIELD(Pageblock, prev, "u32", 4, 1);
  EXPECT_FIELD(Pageblock, next, "u32", 4, 1);
  EXPECT_FIELD(FrameMap, frames, "pointer", 8, 1);
  EXPECT_FIELD(FrameMap, blocks, "pointer", 8, 1);
  EXPECT_FIELD(FrameMap, direct_map, "pointer", 8, 1);
  EXPECT_FIELD(FrameMap, limit, "u64", 8, 1);
  EXPECT_FIELD(FrameMap, sections, "u64", 8, FrameMap::kMaxSections);
  EXPECT_FIELD(FrameMap, block_zone, "u8", 1, FrameMap::kMaxBlocks);
  EXPECT_FIELD(BuddyLists, nonempty, "u64", 8, 1);
  EXPECT_FIELD(BuddyLists, heads, "u32", 4, BuddyLists::kPartial + BuddyLists::kWhole);
  EXPECT_FIELD(ZoneRecord, name, "char", 1, 16);
  EXPECT_FIELD(ZoneRecord, lists, "pointer", 8, 1);
  EXPECT_FIELD(NodeRecord, zone, "pointer", 8, kZoneKinds);
  EXPECT_FIELD(PhysicalRecord, node, "pointer", 8, 1);
  EXPECT_FIELD(SmallMagazine, blocks, "u32", 4, SmallMagazine::kBlocks);
  EXPECT_FIELD(FrameCache, pairs, "MagazinePair", sizeof(MagazinePair), FrameCache::kPairs);
  EXPECT_FIELD(PerCpu, number, "u32", 4, 1);
  EXPECT_FIELD(PerCpu, counters, "i64", 8, kCounterSlots);
  EXPECT_FIELD(PerCpu, held_spin, "HeldRanks", sizeof(HeldRanks), 1);
  EXPECT_FIELD(PerCpu, contended, "u32", 4, kLockRanks);
  EXPECT_FIELD(HeldRanks, wanted, "Rank", 1, 1);
  EXPECT_FIELD(ManagerRecord, physical, "pointer", 8, 1);
  EXPECT_FIELD(ManagerRecord, home, "pointer", 8, 1);
  EXPECT_EQ(type_named("Frame")->bytes, sizeof(Frame));
  EXPECT_EQ(type_named("Pageblock")->bytes, sizeof(Pageblock));
  EXPECT_EQ(type_named("PerCpu")->bytes, sizeof(PerCpu));
}

// Whatever the rows say about a Frame's bits is what the Frame itself says.
TEST(layout, bit_fields_read_back_what_was_set) {
  layout::fill(record);
  const auto read = [](const Frame& frame, std::string_view name) -> std::uint64_t {
    const stats::FieldRow* const field = field_of("Frame", name);
    if (field == nullptr || field->bits == 0) return ~std::uint64_t{0};
    std::uint64_t word = 0;
    __builtin_memcpy(&word, reinterpret_cast<const std::byte*>(&frame) + field->offset, field->bytes);
    return word >> field->bit & ((std::uint64_t{1} << field->bits) - 1);
  };
  Frame frame{};
  frame.set(FrameState::allocated, Order{11});
  frame.zone_node = 3 | 45 << 2;
  EXPECT_EQ(read(frame, "state"), 3u);
  EXPECT_EQ(read(frame, "order"), 11u);
  EXPECT_EQ(read(frame, "zone"), 3u);
  EXPECT_EQ(read(frame, "node"), 45u);
  EXPECT_EQ(std::string_view(field_of("Frame", "state")->type), "FrameState");
}

TEST(layout, every_row_can_be_followed) {
  layout::fill(record);
  std::size_t next = 0;
  for (const stats::TypeRow& type : rows<stats::TypeRow>(record.types)) {
    EXPECT_EQ(type.first_field, next);
    next += type.fields;
    EXPECT(type.fields > 0);
    EXPECT_EQ(type_named(type.name), &type);  // no name twice
    ASSERT(next <= record.fields.rows);
    for (const stats::FieldRow& field :
         rows<stats::FieldRow>(record.fields).subspan(type.first_field, type.fields)) {
      const std::string_view of = field.type;
      const bool known = of == "u8" || of == "u16" || of == "u32" || of == "u64" || of == "i64" ||
                         of == "char" || of == "pointer" || type_named(of) != nullptr || is_enum(of);
      EXPECT(known);
      EXPECT(field.count > 0 && field.offset + std::uint64_t{field.bytes} * field.count <= type.bytes);
      EXPECT(field.bit + field.bits <= 8 * field.bytes);
      EXPECT_EQ(field_of(type.name, field.name), &field);
    }
  }
  EXPECT_EQ(next, record.fields.rows);
}

// The fields of a Frame and a Pageblock cover every byte: nothing is kept that an outside reader cannot see.
TEST(layout, frames_and_pageblocks_have_no_hidden_bytes) {
  layout::fill(record);
  for (const std::string_view name : {"Frame", "Pageblock", "BuddyLists"}) {
    const stats::TypeRow* const type = type_named(name);
    ASSERT(type != nullptr);
    std::uint64_t covered = 0;
    for (const stats::FieldRow& field :
         rows<stats::FieldRow>(record.fields).subspan(type->first_field, type->fields))
      covered += field.bits != 0 ? field.bits : 8 * std::uint64_t{field.bytes} * field.count;
    EXPECT_EQ(covered, 8 * type->bytes);
  }
}

TEST(layout, enumerators_have_their_values) {
  layout::fill(record);
  const auto value_of = [](std::string_view type, std::string_view name) -> std::uint64_t {
    for (const stats::EnumRow& row : rows<stats::EnumRow>(record.enums))
      if (row.type == type && row.name == name) return row.value;
    return ~std::uint64_t{0};
  };
  EXPECT_EQ(value_of("FrameState", "absent"), 0u);
  EXPECT_EQ(value_of("FrameState", "reserved"), 1u);
  EXPECT_EQ(value_of("FrameState", "managed"), 2u);
  EXPECT_EQ(value_of("FrameState", "allocated"), 3u);
  EXPECT_EQ(value_of("FrameState", "cached"), 4u);
  EXPECT_EQ(value_of("ZoneKind", "highmem"), 3u);
  EXPECT_EQ(value_of("FrameFlag", "poisoned"), 1u);
}

// From the record to a frame as Python goes: manager, physical, frames, array; no C++ type on the way.
TEST(layout, the_record_leads_to_every_structure) {
  static constexpr PhysRange kMemory[] = {unit::frames(0, 600)};
  unit::World world({.memory = kMemory, .cpus = 2});
  ASSERT(world.ok());
  record = world->record();
  EXPECT_EQ(std::string_view(record.magic, 8), std::string_view("CORONEL\0", 8));
  EXPECT_EQ(record.version, 1u);
  EXPECT_EQ(record.bytes, sizeof(stats::Record));
  EXPECT_EQ(record.cpus.rows, 2u);
  const auto follow = [](std::uint64_t address, std::string_view type, std::string_view name) {
    const stats::FieldRow* const field = field_of(type, name);
    std::uint64_t value = 0;
    if (field == nullptr)
      unit::fail(name, __FILE__, __LINE__);
    else
      __builtin_memcpy(&value, reinterpret_cast<const std::byte*>(address + field->offset), field->bytes);
    return value;
  };
  const std::uint64_t physical = follow(record.manager, "ManagerRecord", "physical");
  const std::uint64_t map = follow(physical, "PhysicalRecord", "frames");
  EXPECT_EQ(follow(map, "FrameMap", "present_frames"), 600u);
  EXPECT_EQ(follow(map, "FrameMap", "frames"),
            reinterpret_cast<std::uint64_t>(&world->frames()[FrameNumber{0}]));
  const std::uint64_t zone = follow(follow(physical, "PhysicalRecord", "node"), "NodeRecord", "zone");
  EXPECT_EQ(follow(zone, "ZoneRecord", "present_frames"), 600u);
  EXPECT_EQ(follow(follow(zone, "ZoneRecord", "lists"), "BuddyLists", "free_frames"), 600u);
  const auto* const cpus = reinterpret_cast<const std::uint64_t*>(record.cpus.address);
  EXPECT_EQ(cpus[1], reinterpret_cast<std::uint64_t>(&world->cpu(1)));
  EXPECT_EQ(follow(cpus[1], "PerCpu", "number"), 1u);
}
