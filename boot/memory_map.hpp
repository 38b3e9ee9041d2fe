// MemoryMap: a loader's memory ranges, in any order and overlapping, made into a sorted map of whole frames.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "mm/base/boot_info.hpp"
#include "mm/base/result.hpp"

namespace boot {

using memory::BootInfo;
using memory::MemoryKind;
using memory::PhysAddr;
using memory::PhysRange;

// No x86-64 CPU has longer physical addresses (Intel SDM volume 3, section 4.1.4).
inline constexpr std::uint64_t kPhysicalEnd = std::uint64_t{1} << 52;

// Owns its table, takes no lock, cannot fail. Large (8 KiB): static storage.
//
// The map depends only on which ranges were added, not on their order or how often, for as long as the table
// has room (pieces_given_up() == 0). Without room it errs on the safe side: the smallest pieces become
// reserved.
class MemoryMap {
 public:
  static constexpr std::size_t kCapacity = 512;  // edges; n ranges make at most 2n

  // `capacity` >= 4 is smaller than kCapacity only in tests.
  constexpr explicit MemoryMap(std::size_t capacity = kCapacity) : capacity_(capacity) {}
  MemoryMap(const MemoryMap&) = delete;
  MemoryMap& operator=(const MemoryMap&) = delete;

  void clear();

  // Adds [base, base + length), any values. Where ranges overlap, the less usable kind wins. Memory that is
  // not available takes every frame it touches.
  void add(PhysAddr base, std::uint64_t length, MemoryKind kind);

  // Fills the memory fields of `info`: available ranges shrunk to whole frames, nothing beyond `limit` (a
  // multiple of the frame size). Ranges for which info.memory has no room are dropped and counted, the
  // smallest first and those that are not available before the others.
  void finish(BootInfo& info, PhysAddr limit);

  std::size_t empty_ranges() const { return empty_; }
  std::size_t clipped_ranges() const { return clipped_; }
  std::size_t pieces_given_up() const { return given_up_; }
  // Usable bytes beyond `limit`, in whole frames.
  std::uint64_t available_from(PhysAddr limit) const;

 private:
  // What the map says: nothing, or a kind, by falling usability.
  using Rank = std::uint8_t;
  static constexpr Rank kNothing = 0;
  static constexpr Rank rank_of(MemoryKind kind) { return static_cast<Rank>(static_cast<Rank>(kind) + 1); }
  static constexpr MemoryKind kind_of(Rank rank) { return static_cast<MemoryKind>(rank - 1); }

  // From `at` to the next edge, the map says `rank`.
  struct Edge {
    std::uint64_t at = 0;
    Rank rank = kNothing;
  };

  std::size_t find(std::uint64_t address) const;
  std::uint64_t end_of(std::size_t i) const { return i + 1 < edges_ ? edge_[i + 1].at : kPhysicalEnd; }
  std::size_t split(std::uint64_t address);
  void raise(std::uint64_t first, std::uint64_t end, Rank rank);
  void coarsen();
  memory::MemoryRange range_at(std::size_t i, PhysAddr limit) const;

  std::array<Edge, kCapacity + 2> edge_{};  // two more than the capacity: coarsen() itself splits
  std::size_t edges_ = 1;
  std::size_t capacity_;
  std::size_t empty_ = 0;
  std::size_t clipped_ = 0;
  std::size_t given_up_ = 0;
};

// Whether `range` lies in one available range of the map. An empty range does when its address is in one or
// at the end of one.
bool is_available(const BootInfo& info, PhysRange range);

// Whether every byte of `range` is memory by the map, whatever its kind (except bad), or lies in the first
// MiB, which firmware maps seldom describe whole.
bool is_memory(const BootInfo& info, PhysRange range);

// Reserves every frame of `range` that is available. Fails with too_big when the table has no room; then only
// a part is reserved.
memory::Result<void> reserve(BootInfo& info, PhysRange range);

// Proves what boot_info.hpp promises: order, no overlap, whole frames, reserved inside available memory,
// modules inside reserved memory, sizes within their tables.
bool valid(const BootInfo& info);

}  // namespace boot
