// SPDX-License-Identifier: MIT
#include "mm/who.hpp"

#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

// The directly mapped record at `address`, or null where no Record can lie.
template <typename Record>
const Record* record_at(const FrameTable& frames, std::uint64_t address, std::size_t bytes) {
  if (address % alignof(Record) != 0) return nullptr;
  for (const std::uint64_t at : {address, address + bytes - 1}) {
    const FrameNumber frame = frames.frame_behind(at);
    if (frame == kNoFrame || frames[frame].state() == FrameState::absent) return nullptr;
  }
  return reinterpret_cast<const Record*>(address);
}

// Sets slab, index and offset when the slab's record is one; then the use is slab.
void look_into_slab(const MemoryManager& manager, const Frame& frame, VirtAddr direct, AddressOwner& found) {
  const FrameTable& frames = manager.physical().frames();
  const unsigned number = frame.tag.load(std::memory_order_relaxed);
  found.cache = manager.heap().cache(number);
  if (found.cache == nullptr) return;
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

// Whose range of kernel addresses it is, where it is not the direct map's or the image's.
void describe_range(Inspector& to, const MemoryManager& manager, VirtAddr address) {
  const auto range = manager.range_at_fault(address);
  if (!range.ok()) return;
  const FoundRange found = range.take();
  to.hex("range", found.body.first.value);
  to.text("kind", name_of(found.kind));
  to.text("owner", found.owner.view());
  if (found.number != 0) to.number("number", found.number, Unit::none);
  if (found.caller != 0) to.hex("caller", found.caller);
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
  const VirtAddr direct{reinterpret_cast<std::uint64_t>(frames.map().direct_map) + at.value};
  const unsigned head_tag = head.tag.load(std::memory_order_relaxed);
  if (head_tag == static_cast<unsigned>(FrameTag::none)) {
    found.use = FrameUse::frames;
  } else if (head_tag == static_cast<unsigned>(FrameTag::page_table)) {
    found.use = FrameUse::page_table;
  } else if (head_tag == static_cast<unsigned>(FrameTag::large_object)) {
    found.use = FrameUse::large_object;
    found.offset = at - address_of(found.block);
  } else if (head_tag == static_cast<unsigned>(FrameTag::heap_range)) {
    look_into_heap(manager, direct, found);
  } else if (head_tag < kCacheSlots && tag == head_tag) {
    look_into_slab(manager, frame, direct, found);
  }
  return found;
}

void describe_owner(Inspector& to, const MemoryManager& manager, VirtAddr address, PhysAddr at) {
  const AddressOwner found = owner_of(manager, at);
  const FrameTable& frames = manager.physical().frames();
  const auto number = [&](std::string_view name, std::uint64_t value) {
    to.number(name, static_cast<std::int64_t>(value), Unit::none);
  };
  to.begin_object("", Layout::lines);
  to.hex("address", address.value);
  to.hex("physical", at.value);
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
  describe_range(to, manager, address);
  to.end_object();
}

}  // namespace memory
