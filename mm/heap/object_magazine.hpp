// ObjectMagazine: a stack of free objects that one CPU holds, or the depot keeps.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

#include "mm/base/list.hpp"
#include "mm/base/percpu.hpp"

namespace memory {

// An array, so there is no link in a free object that a stray write could steer. With each object goes the place of its
// state, so that handing it out need not look for its slab. Everything but `count`, which is read to add up levels,
// belongs to whoever holds the magazine.
struct ObjectMagazine {
  static constexpr std::uint32_t kObjects = 60;

  ListNode node;                     // in the depot
  std::atomic<std::uint64_t> count;  // [a]
  std::uint64_t limit;               // objects that it may hold now
  ObjectMagazine* mate;              // the other one of its CPU's pair
  std::array<void*, kObjects> objects;
  std::array<std::uint8_t*, kObjects> states;

  std::uint64_t size() const { return count.load(std::memory_order_relaxed); }
  void set_size(std::uint64_t objects_now) { count.store(objects_now, std::memory_order_relaxed); }
};
static_assert(sizeof(ObjectMagazine) == 1000 && std::is_standard_layout_v<ObjectMagazine>);

// A CPU's place for one cache's loaded magazine (PerCpu::magazines), by the cache's number:
//
//   kEmptySlot   no magazine yet, or the cache does without
//   kTakenSlot   somebody works with it just now
//   else         the ObjectMagazine; its mate is the second of the pair
//
// Whoever exchanges a slot's word for kTakenSlot (acquire) and gets another word has it, with all that hangs on it, until
// he stores a word back (release): what the last holder wrote is seen by the next. Nobody waits for a slot with a lock
// in hand, and nobody needs preemption or interrupts off: who is interrupted, moved to another CPU or asked by another CPU
// in between finds or leaves the slot taken, and the others do without it.
using MagazineSlot = std::atomic<std::uintptr_t>;
inline constexpr std::uintptr_t kEmptySlot = 0;
inline constexpr std::uintptr_t kTakenSlot = 1;

inline ObjectMagazine* magazine_in(std::uintptr_t word) { return reinterpret_cast<ObjectMagazine*>(word); }
inline std::uintptr_t word_of(const ObjectMagazine* magazine) {
  return reinterpret_cast<std::uintptr_t>(magazine);
}

}  // namespace memory
