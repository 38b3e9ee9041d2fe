// The walk over multiboot2 tags, none of whose sizes is believed.
// SPDX-License-Identifier: MIT
//
// Theory. The information is a u32 size, a u32 of nothing, and tags: u32 type, u32 size (of the tag with
// these eight bytes), contents; each begins at a multiple of 8, and the last has type 0.
//
//   0            8                   8 + size rounded up to 8                          total_size
//   | total | 0 | type | size | ... | type | size | ........................ | 0 | 8 |
//
// First the whole chain is walked against the window, then the memory map is made, and only then everything
// that must be compared with the map: the structure itself, modules.
// Multiboot2 Specification version 2.0, section 3.6.
#include "boot/multiboot2.hpp"

#include <cstddef>

namespace boot {

namespace {

enum class TagType : std::uint32_t {
  end = 0,
  command_line = 1,
  module = 3,
  memory_map = 6,
  rsdp_old = 14,
  rsdp_new = 15,
};

struct Header {
  std::uint32_t total_size;
  std::uint32_t reserved;
};

struct Tag {
  TagType type;
  std::uint32_t size;
};

struct ModuleTag {
  Tag tag;
  std::uint32_t first;
  std::uint32_t end;
};

struct MapTag {
  Tag tag;
  std::uint32_t entry_size;
  std::uint32_t entry_version;
};

struct MapEntry {
  std::uint64_t base;
  std::uint64_t length;
  std::uint32_t type;
  std::uint32_t reserved;
};
static_assert(sizeof(Header) == 8 && sizeof(Tag) == 8 && sizeof(MapTag) == 16 && sizeof(ModuleTag) == 16 &&
              sizeof(MapEntry) == 24);

MemoryKind kind_of(std::uint32_t type) {
  switch (type) {
    case 1: return MemoryKind::available;
    case 3: return MemoryKind::acpi_reclaimable;
    case 4: return MemoryKind::acpi_nvs;
    case 5: return MemoryKind::bad;
    default: return MemoryKind::reserved;
  }
}

class Parser {
 public:
  Parser(Builder& builder, PhysAddr information) : builder_(builder), base_(information) {}

  Result<void> run() {
    TRY(check_structure());
    TRY(read_maps());
    TRY(builder_.finish_memory());
    TRY(builder_.keep({base_, base_ + total_}));
    TRY(read_rest());
    TRY(read_rsdp(TagType::rsdp_new, 36));
    return read_rsdp(TagType::rsdp_old, 20);
  }

 private:
  // -- the chain of tags; offsets count from the beginning of the structure
  Result<void> check_structure();
  Result<Tag> tag_at(std::uint64_t offset);
  static std::uint64_t next(std::uint64_t offset, Tag tag) { return (offset + tag.size + 7) & ~7ull; }
  template <typename Visit>
  Result<void> for_each_tag(Visit visit) {
    std::uint64_t offset = sizeof(Header);
    for (Tag tag = TRY(tag_at(offset)); tag.type != TagType::end; tag = TRY(tag_at(offset))) {
      TRY(visit(offset, tag));
      offset = next(offset, tag);
    }
    return {};
  }

  // -- what is in them
  Result<void> read_maps();
  Result<void> read_map(std::uint64_t offset, Tag tag);
  Result<void> read_rest();
  Result<void> read_module(std::uint64_t offset, Tag tag);
  void read_command_line(std::uint64_t offset, Tag tag);
  Result<void> read_rsdp(TagType type, std::uint32_t bytes);

  PhysAddr at(std::uint64_t offset) const { return base_ + offset; }

  Builder& builder_;
  PhysAddr base_;
  std::uint64_t total_ = 0;
  std::size_t modules_ = 0;
};

Result<void> Parser::check_structure() {
  const PhysView& view = builder_.view();
  const Result<Header> header = view.read<Header>(base_);
  if (!header.ok()) {
    return builder_.report().fatal(Fatal::information_unreadable, base_.value, view.end().value);
  }
  total_ = header.take().total_size;
  if (total_ < sizeof(Header) + sizeof(Tag) || !view.contains(base_, total_)) {
    return builder_.report().fatal(Fatal::information_size, base_.value, total_);
  }
  return for_each_tag([](std::uint64_t, Tag) { return Result<void>{}; });
}

// The tag at `offset`, which lies in the structure with all of its bytes.
Result<Tag> Parser::tag_at(std::uint64_t offset) {
  BootReport& report = builder_.report();
  if (offset + sizeof(Tag) > total_) return report.fatal(Fatal::no_end_tag, total_);
  const Tag tag = TRY(builder_.view().read<Tag>(at(offset)));
  const auto type = static_cast<std::uint64_t>(tag.type);
  if (tag.size < sizeof(Tag)) return report.fatal(Fatal::tag_too_short, type, offset, tag.size);
  if (tag.size > total_ - offset) return report.fatal(Fatal::tag_past_end, type, offset, tag.size);
  return tag;
}

// Several maps count together: the less usable kind wins wherever they disagree.
Result<void> Parser::read_maps() {
  std::size_t maps = 0;
  TRY(for_each_tag([&](std::uint64_t offset, Tag tag) -> Result<void> {
    if (tag.type != TagType::memory_map) return {};
    ++maps;
    return read_map(offset, tag);
  }));
  if (maps == 0) return builder_.report().fatal(Fatal::no_memory_map);
  if (maps > 1) builder_.report().note(Remark::map_repeated, maps);
  return {};
}

// Section 3.6.8 "Memory map". Entries may be longer than those that we know.
Result<void> Parser::read_map(std::uint64_t offset, Tag tag) {
  BootReport& report = builder_.report();
  if (tag.size < sizeof(MapTag)) return report.fatal(Fatal::map_too_short, offset, tag.size);
  const MapTag map = TRY(builder_.view().read<MapTag>(at(offset)));
  if (map.entry_size < sizeof(MapEntry)) return report.fatal(Fatal::map_entry_size, offset, map.entry_size);

  std::uint64_t done = sizeof(MapTag);
  for (; map.entry_size <= tag.size - done; done += map.entry_size) {
    const MapEntry entry = TRY(builder_.view().read<MapEntry>(at(offset + done)));
    builder_.add_memory(PhysAddr{entry.base}, entry.length, kind_of(entry.type));
  }
  if (done < tag.size) report.note(Remark::map_tail, tag.size - done);
  return {};
}

Result<void> Parser::read_rest() {
  TRY(for_each_tag([&](std::uint64_t offset, Tag tag) -> Result<void> {
    if (tag.type == TagType::module) return read_module(offset, tag);
    if (tag.type == TagType::command_line) read_command_line(offset, tag);
    return {};
  }));
  builder_.finish();
  return {};
}

// Section 3.6.6 "Modules".
Result<void> Parser::read_module(std::uint64_t offset, Tag tag) {
  const std::size_t number = modules_++;
  if (tag.size < sizeof(ModuleTag)) {
    builder_.report().note(Remark::module_malformed, number, tag.size);
    builder_.drop_modules(1);
    return {};
  }
  const ModuleTag module = TRY(builder_.view().read<ModuleTag>(at(offset)));
  if (module.end < module.first) {
    builder_.report().note(Remark::module_backwards, number, module.end, module.first);
    builder_.drop_modules(1);
    return {};
  }
  const std::uint64_t room = tag.size - sizeof(ModuleTag);
  const std::string_view name = builder_.view().text(at(offset + sizeof(ModuleTag)), room);
  if (name.size() == room) builder_.report().note(Remark::module_name_open, number);
  return builder_.add_module(number, PhysAddr{module.first}, module.end - module.first, name);
}

// Section 3.6.5 "Boot command line".
void Parser::read_command_line(std::uint64_t offset, Tag tag) {
  const std::uint64_t room = tag.size - sizeof(Tag);
  const std::string_view text = builder_.view().text(at(offset + sizeof(Tag)), room);
  if (text.size() == room) builder_.report().note(Remark::command_line_open);
  builder_.set_command_line(text);
}

// Sections 3.6.14 and 3.6.15 "ACPI old RSDP", "ACPI new RSDP": the tag holds a copy.
Result<void> Parser::read_rsdp(TagType type, std::uint32_t bytes) {
  return for_each_tag([&](std::uint64_t offset, Tag tag) -> Result<void> {
    if (tag.type != type) return {};
    const PhysAddr copy = at(offset + sizeof(Tag));
    if (tag.size < sizeof(Tag) + bytes) {
      builder_.report().note(Remark::rsdp_malformed, copy.value);
    } else {
      builder_.set_rsdp(copy);
    }
    return {};
  });
}

}  // namespace

Result<void> parse_multiboot2(Builder& builder, PhysAddr information) {
  builder.info().protocol = memory::BootProtocol::multiboot2;
  return Parser(builder, information).run();
}

}  // namespace boot
