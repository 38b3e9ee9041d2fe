// The checks that both protocols share: every address of the loader's is compared with the memory map.
// SPDX-License-Identifier: MIT
#include "boot/builder.hpp"

#include <memory>

#include "mm/base/config.hpp"

namespace boot {

using memory::BootModule;
using memory::kPageSize;
namespace config = memory::config;

namespace {

constexpr PhysAddr kLimit{memory::operator""_GiB(config::max_memory_gib)};
static_assert(kLimit.value <= kPhysicalEnd && config::max_memory_gib > 0);

// In place: a temporary would not fit on a kernel stack.
template <typename T>
void renew(T& object) {
  std::destroy_at(&object);
  std::construct_at(&object);
}

}  // namespace

Builder::Builder(const PhysView& view, PhysRange kernel, MemoryMap& map, BootInfo& info, BootReport& report)
    : view_(view), kernel_(kernel), map_(map), info_(info), report_(report) {
  map_.clear();
  renew(info_);
  renew(report_);
}

Result<void> Builder::finish_memory() {
  map_.finish(info_, kLimit);
  if (map_.empty_ranges() > 0) report_.note(Remark::range_empty, map_.empty_ranges());
  if (map_.clipped_ranges() > 0) report_.note(Remark::range_clipped, map_.clipped_ranges());
  if (map_.pieces_given_up() > 0) report_.note(Remark::map_coarsened, map_.pieces_given_up());
  if (info_.memory_ranges_dropped > 0) {
    report_.note(Remark::ranges_dropped, info_.memory_ranges_dropped, info_.memory.size());
  }
  if (info_.bytes_above_limit > 0) {
    report_.note(Remark::above_limit, info_.bytes_above_limit, config::max_memory_gib);
  }

  bool usable = false;
  for (std::size_t i = 0; i < info_.memory_ranges; ++i) {
    usable = usable || info_.memory[i].kind == MemoryKind::available;
  }
  if (!usable) return report_.fatal(Fatal::no_usable_memory);
  if (!is_available(info_, kernel_)) {
    return report_.fatal(Fatal::machine_too_small, kernel_.first.value, kernel_.end.value);
  }
  TRY(reserve(info_, {PhysAddr{0}, PhysAddr{kPageSize}}));  // so that frame 0 is never a good answer
  return reserve(info_, kernel_);
}

Result<void> Builder::keep(PhysRange structure) {
  if (!is_memory(info_, structure)) {
    return report_.fatal(Fatal::information_outside_ram, structure.first.value, structure.end.value);
  }
  if (structure.overlaps(kernel_)) {
    return report_.fatal(Fatal::information_over_kernel, structure.first.value, structure.end.value);
  }
  if (!reserve(info_, structure).ok()) return report_.fatal(Fatal::too_scattered, info_.reserved.size());
  return {};
}

void Builder::set_command_line(std::string_view text) {
  if (has_command_line_) {
    report_.note(Remark::command_line_repeated);
    return;
  }
  has_command_line_ = true;
  if (text.size() > info_.command_line_text.size()) {
    // Half a word could mean something else ("memory=64M" cut to "memory=6").
    const std::size_t room = info_.command_line_text.size();
    std::size_t end = room;
    while (end > 0 && text[end] != ' ') --end;
    text = {text.data(), end > 0 ? end : room};
    info_.command_line_cut = true;
    report_.note(Remark::command_line_cut, text.size());
  }
  for (std::size_t i = 0; i < text.size(); ++i) info_.command_line_text[i] = text[i];
  info_.command_line_size = text.size();
}

// The text is memory by the map, with its terminating zero where it has one.
bool Builder::readable_text(PhysAddr address, std::uint64_t limit, std::string_view& text) const {
  if (!view_.contains(address, 1) || !is_memory(info_, {address, address + 1})) return false;
  text = view_.text(address, limit);
  return is_memory(info_, {address, address + text.size()});
}

Result<void> Builder::set_command_line_at(PhysAddr address) {
  if (address.value == 0) return {};
  std::string_view text;
  if (!readable_text(address, info_.command_line_text.size() + 1, text)) {
    report_.note(Remark::command_line_unreadable, address.value);
    return {};
  }
  if (!view_.contains(address, text.size() + 1)) report_.note(Remark::command_line_open);
  set_command_line(text);
  return keep({address, address + text.size()});
}

std::string_view Builder::module_name_at(std::size_t number, PhysAddr address) {
  if (address.value == 0) return {};
  std::string_view text;
  if (readable_text(address, BootModule{}.name_text.size() + 1, text)) return text;
  report_.note(Remark::module_name_unreadable, number, address.value);
  return "?";
}

Result<void> Builder::add_module(std::size_t number, PhysAddr first, std::uint64_t bytes,
                                 std::string_view name) {
  if (info_.module_count == info_.modules.size()) {
    ++modules_without_room_;
    drop_modules(1);
    return {};
  }
  const bool addressable = first.value < kPhysicalEnd && bytes <= kPhysicalEnd - first.value;
  const PhysRange range{first, addressable ? first + bytes : first};
  if (addressable && bytes > 0 && range.overlaps(kernel_)) {
    report_.note(Remark::module_over_kernel, number, range.first.value, range.end.value);
    drop_modules(1);
    return {};
  }
  if (!addressable || (bytes > 0 && !is_available(info_, range))) {
    report_.note(Remark::module_outside_ram, number, first.value, bytes);
    drop_modules(1);
    return {};
  }
  if (!reserve(info_, range).ok()) return report_.fatal(Fatal::too_scattered, info_.reserved.size());

  BootModule& module = info_.modules[info_.module_count++];
  module.range = range;
  if (name.size() > module.name_text.size()) {
    name = {name.data(), module.name_text.size()};
    report_.note(Remark::module_name_cut, number, name.size());
  }
  for (std::size_t i = 0; i < name.size(); ++i) module.name_text[i] = name[i];
  module.name_size = name.size();
  return {};
}

// ACPI Specification, section "Root System Description Pointer": the structure begins with this text.
void Builder::set_rsdp(PhysAddr address) {
  constexpr std::string_view kSignature = "RSD PTR ";
  if (address.value == 0 || info_.rsdp.value != 0) return;
  if (view_.contains(address, kSignature.size()) && view_.text(address, kSignature.size()) != kSignature) {
    report_.note(Remark::rsdp_malformed, address.value);
    return;
  }
  info_.rsdp = address;
}

void Builder::finish() {
  if (modules_without_room_ > 0) {
    report_.note(Remark::modules_dropped, modules_without_room_, info_.modules.size());
  }
}

}  // namespace boot
