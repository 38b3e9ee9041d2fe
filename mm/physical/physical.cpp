// Physical: memory comes into service, and what the console shows of it.
// SPDX-License-Identifier: MIT
#include "mm/physical/physical.hpp"

#include "mm/stats/inspector.hpp"
#include "mm/stats/stats.hpp"

namespace memory {

using stats::Counter;

void Physical::start(const BootInfo& info, EarlyAllocator& early) {
  for (std::size_t n = 0; n < info.memory_ranges; ++n) {
    if (info.memory[n].kind != MemoryKind::available) continue;
    frames_.add(info.memory[n].range);
    zone_.span(info.memory[n].range);
  }
  record_.early_frames = early.allocated_frames();
  early.hand_over([this](PhysRange range) { zone_.donate(range); });
  const PhysicalLevels now = levels();
  stats::add(Counter::frames_present, static_cast<std::int64_t>(now.present));
  stats::add(Counter::frames_managed, static_cast<std::int64_t>(now.managed));
  stats::add(Counter::frames_free, static_cast<std::int64_t>(now.free));
  stats::add(Counter::frames_early, static_cast<std::int64_t>(early.allocated_frames()));
}

Result<void> Physical::release(FrameNumber number, Order order) { return zone_.release(number, order); }

PhysicalLevels Physical::levels() const {
  const ZoneLevels zone = zone_.levels();
  return {.present = frames_.present_frames(),
          .managed = zone.managed_frames,
          .free = zone.free_frames,
          .reserved = frames_.present_frames() - zone.managed_frames};
}

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
  }
  return "?";
}

}  // namespace

void Physical::describe_meminfo(Inspector& to) const {
  const PhysicalLevels now = levels();
  to.begin_object("", Layout::lines);
  to.number("MemTotal", kib(now.managed), Unit::kib);
  to.number("MemFree", kib(now.free), Unit::kib);
  to.number("MemPresent", kib(now.present), Unit::kib);
  to.number("MemReserved", kib(now.reserved), Unit::kib);
  to.end_object();
}

void Physical::describe_buddyinfo(Inspector& to) const {
  to.begin_array("", Layout::lines);
  to.begin_object("", Layout::row);
  to.number("Node", 0, Unit::none);
  to.text("zone", zone_.name());
  to.begin_array("free_blocks", Layout::row);
  for (const std::uint64_t blocks : zone_.free_blocks())
    to.number("", static_cast<std::int64_t>(blocks), Unit::none);
  to.end_array();
  to.end_object();
  to.end_array();
}

void Physical::describe_zoneinfo(Inspector& to) const {
  const ZoneLevels levels = zone_.levels();
  to.begin_array("", Layout::lines);
  to.begin_object("", Layout::row);
  to.number("Node", 0, Unit::none);
  to.text("zone", zone_.name());
  to.begin_object("pages", Layout::lines);
  to.number("free", static_cast<std::int64_t>(levels.free_frames), Unit::frames);
  to.number("spanned", static_cast<std::int64_t>(zone_.end() - zone_.first()), Unit::frames);
  to.number("present", static_cast<std::int64_t>(zone_.present_frames()), Unit::frames);
  to.number("managed", static_cast<std::int64_t>(levels.managed_frames), Unit::frames);
  to.number("start_pfn", raw(zone_.first()), Unit::none);
  to.end_object();
  to.end_object();
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
    to.number("references", frame.references.load(std::memory_order_relaxed), Unit::none);
    to.number("mappings", frame.mappings.load(std::memory_order_relaxed), Unit::none);
    to.number("flags", frame.flags.load(std::memory_order_relaxed), Unit::none);
    to.end_object();
  }
  to.end_array();
}

}  // namespace memory
