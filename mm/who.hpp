// describe_owner: whose an address is, from the address to its frame, block, slab and object, in one answer.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/heap/block_around.hpp"
#include "mm/memory_manager.hpp"

namespace memory {

class Inspector;

// What a frame is used for, as far as the floors below mm.h know.
enum class FrameUse : std::uint8_t {
  none,          // no memory, or not ours
  reserved,      // the image, boot data, tables made at boot
  free,          // in its zone
  magazine,      // free, in a CPU's magazine
  frames,        // a block that somebody allocated
  page_table,    // of the tree whose root the Frame names
  large_object,  // one object of kmalloc in a block of its own
  slab,          // cut into the objects of a cache
  heap_range,    // cut into the blocks of the kernel heap
  guard_pool,    // a page of one object, or between two of them
  unknown,       // allocated, and what it says of itself makes no sense
};
std::string_view name_of(FrameUse use);

// Further in, only what `use` and a sound record allow is set.
struct AddressOwner {
  FrameUse use = FrameUse::none;
  FrameNumber frame = kNoFrame;
  FrameNumber block = kNoFrame;  // first frame of an allocated or cached block
  Order order{};                 // of the block
  const KmemCache* cache = nullptr;
  const Slab* slab = nullptr;
  std::uint64_t index = 0;  // of the object; slab->objects: before, between or behind the objects
  std::optional<FoundBlock> heap_block;
  std::uint64_t offset = 0;  // bytes into the object, be it a slab's, a large one or a block of the heap
  // What the profile wrote down of the object, be it a slab's or a large one; null where it keeps nothing or that is broken.
  const ObjectTrack* track = nullptr;
};

// Whose the byte at that physical address is. Takes no lock and believes no record before it has looked whether it can
// be one: exact when memory stands still.
AddressOwner owner_of(const MemoryManager& manager, PhysAddr at);

// Whether anybody can get there now: the direct map hides pages of the guard pool, and free frames in a guarded profile.
enum class Mapped : std::uint8_t { no, yes };

// The same as keys and values. `at` is the byte behind `address`; `name` puts the address that a call returns to into words.
void describe_owner(Inspector& to, const MemoryManager& manager, VirtAddr address, PhysAddr at,
                    Vmalloc::NameCaller name, Mapped mapped = Mapped::yes);

}  // namespace memory
