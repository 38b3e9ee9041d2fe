// Physical: what the console and Python's callers see of it.
// SPDX-License-Identifier: MIT
#include "mm/physical/fragmentation.hpp"
#include "mm/physical/physical.hpp"
#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

constexpr std::int64_t kib(std::uint64_t frames) {
  return static_cast<std::int64_t>(frames * kPageSize / 1024);
}

constexpr std::string_view name_of(FrameState state) {
  switch (state) {
    case FrameState::absent: return "absent";
    case FrameState::reserved: return "reserved";
    case FrameState::managed: return "managed";
    case FrameState::allocated: return "allocated";
    case FrameState::cached: return "cached";
  }
  return "?";
}

constexpr std::int64_t as_count(std::uint64_t number) { return static_cast<std::int64_t>(number); }

// A row for each zone that has memory, which body(zone) fills.
template <typename Body>
void for_each_zone(Inspector& to, const Node& node, Body&& body) {
  to.begin_array("", Layout::lines);
  for (const Zone& zone : node.zones()) {
    if (!zone.populated()) continue;
    to.begin_object("", Layout::row);
    to.number("Node", as_count(node.record().number), Unit::none);
    to.text("zone", zone.name());
    body(zone);
    to.end_object();
  }
  to.end_array();
}

}  // namespace

void Physical::describe_meminfo(Inspector& to) const {
  const PhysicalLevels now = levels();
  to.begin_object("", Layout::lines);
  to.number("MemTotal", kib(now.managed), Unit::kib);
  to.number("MemFree", kib(now.free), Unit::kib);
  to.number("MemPerCpu", kib(now.cached), Unit::kib);
  to.number("MemPresent", kib(now.present), Unit::kib);
  to.number("MemReserved", kib(now.reserved), Unit::kib);
  to.end_object();
}

void Physical::describe_buddyinfo(Inspector& to) const {
  for_each_zone(to, node_, [&to](const Zone& zone) {
    to.begin_array("free_blocks", Layout::row);
    for (const std::uint64_t blocks : zone.free_blocks()) to.number("", as_count(blocks), Unit::none);
    to.end_array();
  });
}

void Physical::describe_zoneinfo(Inspector& to) const {
  for_each_zone(to, node_, [&to](const Zone& zone) {
    const ZoneLevels levels = zone.levels();
    const Watermarks marks = zone.watermarks();
    to.begin_object("pages", Layout::lines);
    to.number("free", as_count(levels.free_frames), Unit::frames);
    to.number("min", as_count(marks.minimum), Unit::frames);
    to.number("low", as_count(marks.low), Unit::frames);
    to.number("high", as_count(marks.high), Unit::frames);
    to.number("spanned", as_count(zone.end() - zone.first()), Unit::frames);
    to.number("present", as_count(zone.present_frames()), Unit::frames);
    to.number("managed", as_count(levels.managed_frames), Unit::frames);
    to.number("start_pfn", raw(zone.first()), Unit::none);
    to.end_object();
  });
}

void Physical::describe_fragmentation(Inspector& to) const {
  to.begin_array("", Layout::table);
  for (const Zone& zone : node_.zones()) {
    if (!zone.populated()) continue;
    const FreeBlocks blocks = zone.free_blocks();
    for (unsigned order = 0; order < blocks.size(); ++order) {
      to.begin_object("", Layout::row);
      to.text("zone", zone.name());
      to.number("order", order, Unit::none);
      to.number("free_blocks", as_count(blocks[order]), Unit::none);
      to.number("unusable", unusable_index(blocks, order), Unit::none);
      const auto external = external_index(blocks, order);
      to.number("external", external ? static_cast<std::int64_t>(*external) : -1, Unit::none);
      to.end_object();
    }
  }
  to.end_array();
}

void Physical::describe_frames(Inspector& to, FrameNumber first, std::size_t count) const {
  to.begin_array("", Layout::table);
  const FrameNumber limit = frames_.limit();
  for (FrameNumber at = first; count > 0 && at < limit; ++at, --count) {
    if (!frames_.has(at) || frames_[at].state() == FrameState::absent) continue;
    const Frame& frame = frames_[at];
    const bool managed = frame.state() == FrameState::managed;
    const bool is_free =
        managed && frames_.block(raw(at) / Pageblock::kFrames).is_free(raw(at) % Pageblock::kFrames);
    to.begin_object("", Layout::row);
    to.number("frame", raw(at), Unit::none);
    to.hex("address", address_of(at).value);
    to.text("state", is_free ? "free" : managed ? "inside" : name_of(frame.state()));
    to.number("order", raw(frame.order()), Unit::none);
    to.number("references", frame.references(), Unit::none);
    to.number("mappings", frame.mappings(), Unit::none);
    to.number("flags", frame.flags.load(std::memory_order_relaxed), Unit::none);
    to.end_object();
  }
  to.end_array();
}

}  // namespace memory
