// MisuseReport: what is known of an address, and the line that says it.
// SPDX-License-Identifier: MIT
#include "mm/heap/misuse_report.hpp"

#include <algorithm>

#include "mm/base/platform.hpp"
#include "mm/heap/heap.hpp"
#include "mm/heap/kernel_heap.hpp"
#include "mm/heap/large_guard.hpp"
#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

void copy_name(char (&to)[MisuseReport::kNameBytes], std::string_view from) {
  const std::size_t bytes = std::min(from.size(), MisuseReport::kNameBytes - 1);
  std::copy_n(from.begin(), bytes, to);
  to[bytes] = '\0';
}

void write_call(Writer& out, std::string_view what, const HeapCall& call) {
  if (call.site == 0) return;
  out.text(", ").text(what).text(" at ").hex(call.site).text(" by CPU ").number(call.cpu);
  out.text(", ").number(call.ns / 1000).text(" us");
}

void describe_call(Inspector& to, std::string_view name, const HeapCall& call) {
  to.begin_object(name, Layout::lines);
  to.hex("site", call.site);
  to.number("cpu", call.cpu, Unit::none);
  to.number("ns", static_cast<std::int64_t>(call.ns), Unit::ns);
  to.end_object();
}

// The object of `slab` that `address` lies in, or after which it lies; 0 where the slab has none there.
std::uint64_t object_around(const Slab& slab, std::uint64_t address) {
  const std::uint64_t stride = slab.cache->cut().stride;
  const auto first = reinterpret_cast<std::uint64_t>(slab.first);
  if (slab.in_guard_pool()) return first;  // its page is all its own
  const std::uint64_t index = (address - first) / stride;
  return index < slab.objects ? first + index * stride : 0;
}

// What a guarded profile or the guard pool knows of the object, and where its damage begins.
void add_track(MisuseReport& report, const Slab& slab) {
  if (report.object == 0) return;
  const ObjectTrack* const track = KmemCache::track_of(slab, report.object);
  if (track == nullptr) return;
  report.allocated = track->allocated;
  report.freed = track->freed;
  if (track->requested != 0) report.requested = track->requested;
  if (!is_overrun(report.error)) return;
  if (const std::uint8_t* const wrong = KmemCache::damage_at(slab, report.object); wrong != nullptr)
    report.address = reinterpret_cast<std::uint64_t>(wrong);
}

[[maybe_unused]] void add_trail(MisuseReport& report) {
  const large_guard::Block block{.bytes = reinterpret_cast<std::uint8_t*>(report.object),
                                 .size = report.requested};
  if (const large_guard::Trail* const trail = block.whole_trail(); trail != nullptr) {
    if (block.knows_call()) report.allocated = trail->track.allocated;
    report.requested = trail->track.requested;
  }
  if (!is_overrun(report.error)) return;
  if (const std::uint8_t* const wrong = block.damage(); wrong != nullptr)
    report.address = reinterpret_cast<std::uint64_t>(wrong);
}

}  // namespace

std::string_view name_of(Keeper keeper) {
  switch (keeper) {
    case Keeper::cache: return "cache";
    case Keeper::large: return "large object";
    case Keeper::kernel_heap: return "kernel heap";
    case Keeper::nobody: break;
  }
  return "nobody";
}

HeapCall HeapCall::from(std::uint64_t site) {
  return {.site = site, .ns = platform::now_ns(), .cpu = platform::percpu().number};
}

void MisuseReport::name_keeper(Keeper which, std::string_view name) {
  keeper = which;
  copy_name(keeper_name, name);
}

void MisuseReport::name_receiver(std::string_view name) { copy_name(given_to, name); }

MisuseReport report_on_object(const Heap& heap, Error error, const void* address) {
  MisuseReport report;
  report.error = error;
  report.address = reinterpret_cast<std::uint64_t>(address);
  if (const Slab* const slab = heap.slab_at(address); slab != nullptr) {
    report.name_keeper(Keeper::cache, slab->cache->name());
    report.object = object_around(*slab, report.address);
    if (report.object != 0) report.requested = slab->cache->object_bytes();
    add_track(report, *slab);
    return report;
  }
  const FrameTable& frames = heap.physical().frames();
  const FrameNumber frame = frames.frame_behind(report.address);
  const FrameNumber head = frame == kNoFrame ? kNoFrame : frames.block_around(frame);
  if (head != kNoFrame &&
      frames[head].tag.load(std::memory_order_relaxed) == static_cast<std::uint8_t>(FrameTag::large_object)) {
    report.name_keeper(Keeper::large, "kmalloc");
    report.object = reinterpret_cast<std::uint64_t>(frames.map().direct_map) + address_of(head).value;
    report.requested = bytes_in(frames[head].order());
    if constexpr (config::debug_slab) add_trail(report);
  }
  return report;
}

MisuseReport report_on_guard(const Slab& slab, std::uint64_t address) {
  MisuseReport report;
  report.address = address;
  report.object = reinterpret_cast<std::uint64_t>(slab.first);
  report.name_keeper(Keeper::cache, slab.cache->name());
  if (!object_is(slab.states()[0], ObjectState::allocated))
    report.error = Error::use_after_free;
  else
    report.error = address < report.object ? Error::underflow : Error::overflow;
  const ObjectTrack& track = slab.track(0);
  report.allocated = track.allocated;
  report.freed = track.freed;
  report.requested = track.requested;
  return report;
}

MisuseReport report_on_block(const KernelHeap& heap, Error error) {
  const HeapFault fault = heap.last_fault();
  MisuseReport report;
  report.error = error;
  report.address = is_corruption(error) ? fault.place : fault.address;
  report.name_keeper(Keeper::kernel_heap, name_of(Keeper::kernel_heap));
  if (fault.place != 0) report.object = fault.place + HeapBlock::kHeaderBytes;
  return report;
}

void MisuseReport::write(Writer& out) const {
  out.text(text_of(error)).text(": ");
  write_keeper(out);
  out.text("address ").hex(address);
  write_rest(out, ", ");
}

void MisuseReport::write_object(Writer& out) const {
  write_keeper(out);
  write_rest(out, "");
}

void MisuseReport::write_keeper(Writer& out) const {
  if (keeper == Keeper::cache) out.text("cache ");
  if (keeper != Keeper::nobody) out.text(keeper_name).text(", ");
}

void MisuseReport::write_rest(Writer& out, std::string_view before) const {
  if (object != 0)
    out.text(before).text(keeper == Keeper::kernel_heap ? "block at " : "object at ").hex(object);
  if (requested != 0) out.text(" of ").number(requested).text(" bytes");
  if (told != 0) out.text(", told ").number(told);
  if (error == Error::wrong_cache || keeper == Keeper::nobody) out.text(", given to ").text(given_to);
  write_call(out, "allocated", allocated);
  write_call(out, "freed", freed);
  write_call(out, "caught", caught);
}

void MisuseReport::describe(Inspector& to) const {
  to.begin_object("report", Layout::lines);
  to.number("number", static_cast<std::int64_t>(number), Unit::none);
  to.text("error", name_of(error));
  to.text("keeper", name_of(keeper));
  to.text("name", keeper_name);
  to.hex("address", address);
  to.hex("object", object);
  to.number("requested", static_cast<std::int64_t>(requested), Unit::none);
  to.number("told", static_cast<std::int64_t>(told), Unit::none);
  to.text("given_to", given_to);
  describe_call(to, "allocated", allocated);
  describe_call(to, "freed", freed);
  describe_call(to, "caught", caught);
  to.end_object();
}

}  // namespace memory
