// Kalloc: the one door to memory by size, before there is a heap and after.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/memory_manager.hpp"

namespace memory {

// Where a request goes:
//
//   before open()         frames of the early allocator, small requests one behind the other; never given back
//   up to kMaxClassBytes  a size class of kmalloc
//   above, to kMaxBytes   frames, where the block they need would be seven eighths full or more; else the kernel heap
//
// All of it is directly mapped, and aligned to 16 bytes at least from 16 bytes on. A release finds the owner from the
// address. Misuse is met with the policy of the manager, and its report names the line that called the door.
class Kalloc {
 public:
  static constexpr std::size_t kMaxBytes = Kmalloc::kMaxBytes;
  static constexpr std::uint64_t kCaller = 0;  // as a site: where the call returns to

  // Serves nobody yet: no_memory.
  constexpr Kalloc() = default;
  Kalloc(const Kalloc&) = delete;
  Kalloc& operator=(const Kalloc&) = delete;

  // Out of `early` from now on, whose frames appear at `direct_map`, until open(). One CPU, no lock. Once.
  void begin(EarlyAllocator& early, std::byte* direct_map);
  // Out of the floors of `manager`, which outlives this, from now on. Once; before or after the early allocator hands over,
  // which nobody asks any more.
  void open(MemoryManager& manager);

  // `bytes` bytes, contents undefined; 0 are served as one. Fails with no_memory; too_big above kMaxBytes. Up to
  // kMaxClassBytes from any context, as Kmalloc; above that it may sleep. `site`: who asks, where that is not the call.
  Result<void*> allocate(std::size_t bytes, std::uint64_t site = kCaller);

  enum class Alignment : std::uint8_t { natural, page };
  // The same, and `at` becomes the physical address of the first byte; the others follow. Untouched by a failure.
  Result<void*> place(std::size_t bytes, PhysAddr& at, Alignment alignment, std::uint64_t site = kCaller);

  // Takes back what allocate() or place() returned, or anybody's object of kmalloc or block of the kernel heap; null is
  // nothing to do. Fails, and nothing changed, as MemoryManager::kfree and heap_free do; with wild_object for what was
  // served early.
  Result<void> release(void* object, std::uint64_t site = kCaller);

 private:
  static constexpr std::size_t kEarlyAlign = 16;

  Result<void*> allocate_late(std::size_t bytes, Alignment alignment, std::uint64_t site);
  Result<void*> allocate_early(std::size_t bytes, std::size_t align);

  EarlyAllocator* early_ = nullptr;
  std::byte* direct_map_ = nullptr;
  std::byte* next_ = nullptr;  // what is left of the last early frame
  std::size_t left_ = 0;
  MemoryManager* manager_ = nullptr;  // null: there is no heap yet
};

// The kernel's own, from initialize() on. operator new and delete go through it.
Kalloc& door();

// Its verbs by their old names.
[[gnu::always_inline]] inline Result<void*> kalloc(std::size_t bytes) { return door().allocate(bytes); }
[[gnu::always_inline]] inline Result<void*> placement_kalloc(
    std::size_t bytes, PhysAddr& at, Kalloc::Alignment alignment = Kalloc::Alignment::natural) {
  return door().place(bytes, at, alignment);
}
[[gnu::always_inline]] inline Result<void> kfree(void* object) { return door().release(object); }

}  // namespace memory
