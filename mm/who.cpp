// SPDX-License-Identifier: MIT
#include "mm/who.hpp"

#include "mm/call_sites.hpp"
#include "mm/heap/heap_walk.hpp"
#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

// The directly mapped record at `address`, or null where no Record can lie. Free frames and pages of the guard pool hold none, and may be hidden.
template <typename Record>
const Record* record_at(const FrameTable& frames, std::uint64_t address, std::size_t bytes) {
  if (address % alignof(Record) != 0) return nullptr;
  for (const std::uint64_t at : {address, address + bytes - 1}) {
    const FrameNumber frame = frames.frame_behind(at);
    if (frame == kNoFrame || frames[frame].state() == FrameState::absent || frames.is_free(frame))
      return nullptr;
    if (heap_walk::is_guard_pool(heap_walk::tag_of(frames[frame]))) return nullptr;
  }
  return reinterpret_cast<const Record*>(address);
}

// Whether that can be what was written down of an object that may have up to `most` bytes.
bool makes_sense(const ObjectTrack& track, std::uint64_t most) {
  const auto is_call = [](const HeapCall& call) { return call.cpu < config::max_cpus && call.ns >> 63 == 0; };
  return track.requested != 0 && track.requested <= most && is_call(track.allocated) && is_call(track.freed);
}

// The track of the slab's object at found.index, if it has one.
const ObjectTrack* track_in_slab(const FrameTable& frames, const AddressOwner& found) {
  if (!config::debug_slab || !found.cache->watched()) return nullptr;
  const auto* const track = record_at<ObjectTrack>(
      frames, reinterpret_cast<std::uint64_t>(&found.slab->track(found.index)), sizeof(ObjectTrack));
  return track != nullptr && makes_sense(*track, found.cache->object_bytes()) ? track : nullptr;
}

// Sets slab, index and offset when the slab's record is one; then the use is slab.
void look_into_slab(const MemoryManager& manager, const Frame& frame, VirtAddr direct, AddressOwner& found) {
  const FrameTable& frames = manager.physical().frames();
  const unsigned number = frame.tag.load(std::memory_order_relaxed);
  found.cache = manager.heap().cache(number);
  if (found.cache == nullptr || found.cache->cut().stride == 0) return;
  const SlabCut& cut = found.cache->cut();
  const auto* const slab = record_at<Slab>(frames, frame.owner.load(std::memory_order_relaxed),
                                           slab_record_bytes(cut.objects, SlabCut::Records::inside));
  if (slab == nullptr || slab->number != number || slab->objects != cut.objects) return;
  found.use = FrameUse::slab;
  found.slab = slab;
  found.index = cut.objects;
  const std::uint64_t offset = direct.value - reinterpret_cast<std::uint64_t>(slab->first);
  if (offset / cut.stride >= cut.objects) return;
  found.index = offset / cut.stride;
  found.offset = offset % cut.stride;
  found.track = track_in_slab(frames, found);
}

// Sets how far inside it the address is, and the track where nobody wrote to it.
void look_into_large(const FrameTable& frames, VirtAddr direct, AddressOwner& found) {
  using large_guard::Trail;
  const std::uint64_t first = heap_walk::address_of(frames, found.block);
  found.use = FrameUse::large_object;
  found.offset = direct.value - first;
  if constexpr (!config::debug_slab) return;
  const std::uint64_t bytes = bytes_in(found.order);
  if (record_at<Trail>(frames, first + bytes - sizeof(Trail), sizeof(Trail)) == nullptr) return;
  const large_guard::Block block{.bytes = reinterpret_cast<std::uint8_t*>(first), .size = bytes};
  const Trail* const trail = block.whole_trail();
  if (trail != nullptr && block.knows_call() && makes_sense(trail->track, bytes)) found.track = &trail->track;
}

// The same of a page of the guard pool, whose slab has one object.
void look_into_guards(const MemoryManager& manager, const Frame& frame, VirtAddr direct,
                      AddressOwner& found) {
  found.use = FrameUse::guard_pool;
  const std::uint64_t owner = frame.owner.load(std::memory_order_relaxed);
  const auto* const slab =
      owner == 0 ? nullptr : record_at<Slab>(manager.physical().frames(), owner, sizeof(GuardSlot));
  if (slab == nullptr || slab->objects != 1 || slab->number >= kCacheSlots) return;
  found.cache = manager.heap().cache(slab->number);
  if (found.cache == nullptr) return;
  found.slab = slab;
  const std::uint64_t offset = direct.value - reinterpret_cast<std::uint64_t>(slab->first);
  found.index = offset < slab->track(0).requested ? 0 : 1;
  if (found.index != 0) return;
  found.offset = offset;
  if (makes_sense(slab->track(0), kPageSize)) found.track = &slab->track(0);
}

// Sets the block, and how far inside it the address is, where the headers lead to one.
void look_into_heap(const MemoryManager& manager, VirtAddr direct, AddressOwner& found) {
  found.use = FrameUse::heap_range;
  const auto block = block_around(manager.kernel_heap().state(), direct);
  if (!block.ok()) return;
  found.heap_block = block.take();
  found.offset = direct.value - found.heap_block->payload;  // of a header's byte: nearly 2^64
}

std::string_view name_of(std::uint8_t state) {
  if (object_is(state, ObjectState::free)) return "free";
  if (object_is(state, ObjectState::cached)) return "cached";
  if (object_is(state, ObjectState::quarantined)) return "quarantined";
  return object_is(state, ObjectState::allocated) ? "allocated" : "broken";
}

void describe_call(Inspector& to, std::string_view key, const HeapCall& call, Vmalloc::NameCaller name) {
  if (call.site == 0) return;
  to.begin_object(key, Layout::lines);
  describe_caller(to, "site", call.site, name);
  to.number("cpu", call.cpu, Unit::none);
  to.number("ns", static_cast<std::int64_t>(call.ns), Unit::none);
  to.end_object();
}

void describe_track(Inspector& to, const ObjectTrack& track, Vmalloc::NameCaller name) {
  to.number("requested", static_cast<std::int64_t>(track.requested), Unit::none);
  describe_call(to, "allocated", track.allocated, name);
  describe_call(to, "freed", track.freed, name);
}

// Whose range of kernel addresses it is, where it is not the direct map's or the image's.
void describe_range(Inspector& to, const MemoryManager& manager, VirtAddr address, Vmalloc::NameCaller name) {
  const auto range = manager.range_at_fault(address);
  if (!range.ok()) return;
  const FoundRange found = range.take();
  to.hex("range", found.body.first.value);
  to.text("kind", name_of(found.kind));
  to.text("owner", found.owner.view());
  if (found.number != 0) to.number("number", found.number, Unit::none);
  if (found.caller != 0) describe_caller(to, "caller", found.caller, name);
}

}  // namespace

std::string_view name_of(FrameUse use) {
  switch (use) {
    case FrameUse::none: return "no memory";
    case FrameUse::reserved: return "reserved";
    case FrameUse::free: return "free";
    case FrameUse::magazine: return "free, in a magazine";
    case FrameUse::frames: return "allocated frames";
    case FrameUse::page_table: return "page table";
    case FrameUse::large_object: return "object of kmalloc";
    case FrameUse::slab: return "slab";
    case FrameUse::heap_range: return "kernel heap";
    case FrameUse::guard_pool: return "guard pool";
    case FrameUse::unknown: break;
  }
  return "unknown";
}

AddressOwner owner_of(const MemoryManager& manager, PhysAddr at) {
  const FrameTable& frames = manager.physical().frames();
  AddressOwner found;
  const FrameNumber number = at.value / kPageSize < raw(kNoFrame) ? frame_at(at) : kNoFrame;
  if (!frames.has(number) || frames[number].state() == FrameState::absent) return found;
  found.frame = number;
  const Frame& frame = frames[number];
  const unsigned tag = frame.tag.load(std::memory_order_relaxed);
  const VirtAddr direct{reinterpret_cast<std::uint64_t>(frames.map().direct_map) + at.value};
  if (frame.state() == FrameState::reserved && tag == static_cast<unsigned>(FrameTag::guard_pool)) {
    look_into_guards(manager, frame, direct, found);
    return found;
  }
  if (frame.state() == FrameState::reserved) {
    found.use =
        tag == static_cast<unsigned>(FrameTag::page_table) ? FrameUse::page_table : FrameUse::reserved;
    return found;
  }
  if (frame.state() == FrameState::managed &&
      frames.block(raw(number) / Pageblock::kFrames).is_free(raw(number) % Pageblock::kFrames)) {
    found.use = FrameUse::free;
    return found;
  }
  found.use = FrameUse::unknown;
  found.block = frames.block_around(number);
  if (found.block == kNoFrame) return found;
  const Frame& head = frames[found.block];
  found.order = head.order();
  if (head.state() == FrameState::cached) {
    found.use = FrameUse::magazine;
    return found;
  }
  const unsigned head_tag = head.tag.load(std::memory_order_relaxed);
  if (head_tag == static_cast<unsigned>(FrameTag::none)) {
    found.use = FrameUse::frames;
  } else if (head_tag == static_cast<unsigned>(FrameTag::page_table)) {
    found.use = FrameUse::page_table;
  } else if (head_tag == static_cast<unsigned>(FrameTag::large_object)) {
    look_into_large(frames, direct, found);
  } else if (head_tag == static_cast<unsigned>(FrameTag::heap_range)) {
    look_into_heap(manager, direct, found);
  } else if (head_tag < kCacheSlots && tag == head_tag) {
    look_into_slab(manager, frame, direct, found);
  }
  return found;
}

void describe_owner(Inspector& to, const MemoryManager& manager, VirtAddr address, PhysAddr at,
                    Vmalloc::NameCaller name, Mapped mapped) {
  const AddressOwner found = owner_of(manager, at);
  const FrameTable& frames = manager.physical().frames();
  const auto number = [&](std::string_view key, std::uint64_t value) {
    to.number(key, static_cast<std::int64_t>(value), Unit::none);
  };
  to.begin_object("", Layout::lines);
  to.hex("address", address.value);
  to.hex("physical", at.value);
  if (mapped == Mapped::no) to.text("mapped", "no");
  to.text("use", name_of(found.use));
  if (found.frame != kNoFrame) {
    number("frame", raw(found.frame));
    const auto kind = static_cast<ZoneKind>(frames.zone_place(found.frame) - 1);
    to.text("zone", manager.physical().zone(kind).name());
  }
  if (found.block != kNoFrame) {
    number("block", raw(found.block));
    number("order", raw(found.order));
    number("references", frames[found.block].references());
  }
  if (found.cache != nullptr) to.text("cache", found.cache->name());
  if (found.slab != nullptr) {
    to.hex("slab", reinterpret_cast<std::uint64_t>(found.slab));
    if (found.index < found.slab->objects) {
      number("object", found.index);
      number("offset", found.offset);
      to.text("object_state", name_of(found.slab->states()[found.index]));
    }
  }
  if (found.use == FrameUse::large_object) number("offset", found.offset);
  if (found.heap_block) {
    to.hex("heap_block", found.heap_block->payload);
    number("bytes", found.heap_block->bytes);
    if (found.offset < found.heap_block->bytes) number("offset", found.offset);
    to.text("object_state", found.heap_block->kind == HeapKey::Kind::used ? "allocated" : "free");
  }
  if (found.track != nullptr) describe_track(to, *found.track, name);
  describe_range(to, manager, address, name);
  to.end_object();
}

}  // namespace memory
