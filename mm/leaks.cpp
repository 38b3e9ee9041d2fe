// SPDX-License-Identifier: MIT
#include "mm/leaks.hpp"

#include "mm/call_sites.hpp"
#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

std::int64_t count(std::uint64_t number) { return static_cast<std::int64_t>(number); }

void describe_leak(Inspector& to, const HeapObject& leak, std::uint64_t now, Vmalloc::NameCaller name) {
  const ObjectTrack& track = *leak.track;
  to.begin_object("", Layout::lines);
  to.hex("address", leak.address);
  to.number("bytes", count(leak.bytes), Unit::none);
  to.text("keeper", name_of(leak.keeper));
  to.text("name", leak.name);
  to.number("age_ms", count((now - track.allocated.ns) / 1'000'000), Unit::none);
  to.number("cpu", track.allocated.cpu, Unit::none);
  describe_caller(to, "site", track.allocated.site, name);
  to.begin_array("callers", Layout::lines);
  for (std::size_t n = 0; n < ObjectTrack::kCallers && track.caller(n) != 0; ++n)
    describe_caller(to, "", track.caller(n), name);
  to.end_array();
  to.end_object();
}

}  // namespace

Result<LeakCount> look_for_leaks(MemoryManager& manager, LeakRoots& roots) {
  if constexpr (!config::debug_kmemleak) return Error::unsupported;
  struct Nobody final : LeakSink {
    void found(const HeapObject&) override {}
  } nobody;
  return manager.find_leaks(roots, nobody);
}

std::uint64_t clear_leaks(MemoryManager& manager) {
  std::uint64_t cleared = 0;
  for_each_leak(manager, [&cleared](const HeapObject& leak) {
    leak.track->leak = LeakState::known;
    ++cleared;
  });
  return cleared;
}

void describe_leaks(Inspector& to, const MemoryManager& manager, std::uint64_t first,
                    Vmalloc::NameCaller name) {
  const std::uint64_t now = platform::now_ns();
  std::uint64_t leaks = 0;
  std::uint64_t bytes = 0;
  for_each_leak(manager, [&](const HeapObject& leak) { ++leaks, bytes += leak.bytes; });
  to.begin_object("", Layout::lines);
  to.number("leaks", count(leaks), Unit::none);
  to.number("bytes", count(bytes), Unit::none);
  to.begin_array("list", Layout::lines);
  std::uint64_t number = 0;
  for_each_leak(manager, [&](const HeapObject& leak) {
    if (number >= first && number - first < kLeaksShown) describe_leak(to, leak, now, name);
    ++number;
  });
  to.end_array();
  to.end_object();
}

}  // namespace memory
