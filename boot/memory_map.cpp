// The memory map as a step function.
// SPDX-License-Identifier: MIT
//
// Theory. The map is a step function over [0, 2^52): an edge says from where on what holds. Adding a range
// raises the function to at least the range's rank between two edges, and the ranks fall in usability, so the
// result is the maximum over all ranges: it cannot depend on their order, nor on how often one is given.
//
//   ranks:   available < acpi_reclaimable < acpi_nvs < bad < reserved;   nothing is below all of them;
//            `held` is no loader's: boot/hold.hpp makes it of the finished map
//
//   add [a, c) available          a       c
//                          -------+#######+-----------     edges: 0 nothing, a available, c nothing
//   add [b, d) reserved           a   b     d
//                          -------+###+RRRRR+---------     edges: 0 nothing, a available, b reserved, d
// nothing
//
// Invariants
//   M1  edge_[0].at == 0, edges are strictly ascending and below 2^52
//   M2  neighbours differ in rank
//   M3  an edge to or from a rank other than nothing and available is a multiple of the frame size
//       (such ranges are rounded outward when they come; available ones inward, after all have come and
// merged)
//   M4  without room, memory is only ever taken away: what coarsen() makes reserved stays so, because nothing
//       ranks higher
#include "boot/memory_map.hpp"

namespace boot {

using memory::Error;
using memory::kPageSize;
using memory::MemoryRange;
using memory::Result;

void MemoryMap::clear() {
  edge_[0] = {};
  edges_ = 1;
  empty_ = 0;
  clipped_ = 0;
  given_up_ = 0;
}

// The edge that says what holds at `address`.
std::size_t MemoryMap::find(std::uint64_t address) const {
  std::size_t low = 0;
  std::size_t high = edges_;
  while (high - low > 1) {
    const std::size_t middle = (low + high) / 2;
    (edge_[middle].at <= address ? low : high) = middle;
  }
  return low;
}

// Makes an edge at `address` if there is none, and returns its place. Breaks M2 until it is merged again.
std::size_t MemoryMap::split(std::uint64_t address) {
  const std::size_t i = find(address);
  if (edge_[i].at == address) return i;
  for (std::size_t k = edges_; k > i + 1; --k) edge_[k] = edge_[k - 1];
  edge_[i + 1] = {address, edge_[i].rank};
  ++edges_;
  return i + 1;
}

// Precondition: first < end <= kPhysicalEnd, and room for two edges.
void MemoryMap::raise(std::uint64_t first, std::uint64_t end, Rank rank) {
  const std::size_t begin = split(first);
  std::size_t stop = end == kPhysicalEnd ? edges_ : split(end);
  for (std::size_t i = begin; i < stop; ++i) {
    if (edge_[i].rank < rank) edge_[i].rank = rank;
  }
  // M2: only the edges from `begin` to `stop` may now equal the one before them. They go in one pass.
  if (stop < edges_) ++stop;
  std::size_t kept = begin;
  for (std::size_t i = begin; i < edges_; ++i) {
    if (i < stop && kept > 0 && edge_[i].rank == edge_[kept - 1].rank) continue;
    edge_[kept++] = edge_[i];
  }
  edges_ = kept;
}

// M4. Turns the two neighbours that span the fewest bytes into one reserved piece: one edge less at least,
// and what is lost is small whatever comes later.
void MemoryMap::coarsen() {
  std::size_t best = 0;
  std::uint64_t best_bytes = ~std::uint64_t{0};
  for (std::size_t i = 0; i + 1 < edges_; ++i) {
    const std::uint64_t bytes = end_of(i + 1) - edge_[i].at;
    if (bytes < best_bytes) best = i, best_bytes = bytes;
  }
  ++given_up_;
  const PhysAddr first{edge_[best].at};
  const PhysAddr end{end_of(best + 1)};
  raise(first.aligned_down(kPageSize).value, end.aligned_up(kPageSize).value, rank_of(MemoryKind::reserved));
}

void MemoryMap::add(PhysAddr base, std::uint64_t length, MemoryKind kind) {
  if (length == 0) {
    ++empty_;
    return;
  }
  if (base.value >= kPhysicalEnd || length > kPhysicalEnd - base.value) ++clipped_;
  if (base.value >= kPhysicalEnd) return;
  PhysAddr first = base;
  PhysAddr end = length > kPhysicalEnd - base.value ? PhysAddr{kPhysicalEnd} : base + length;
  if (kind != MemoryKind::available) {  // M3
    first = first.aligned_down(kPageSize);
    end = end.aligned_up(kPageSize);
  }
  while (edges_ + 2 > capacity_) coarsen();
  raise(first.value, end.value, rank_of(kind));
}

// What piece `i` becomes in the map of whole frames; may be empty.
MemoryRange MemoryMap::range_at(std::size_t i, PhysAddr limit) const {
  const bool available = edge_[i].rank == rank_of(MemoryKind::available);
  PhysAddr first{edge_[i].at};
  PhysAddr end{end_of(i)};
  if (available) {
    first = first.aligned_up(kPageSize);
    end = end.aligned_down(kPageSize);
  }
  if (end > limit) end = limit;
  if (edge_[i].rank == kNothing || first >= end) return {};
  return {{first, end}, kind_of(edge_[i].rank)};
}

std::uint64_t MemoryMap::available_from(PhysAddr limit) const {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < edges_; ++i) {
    const MemoryRange all = range_at(i, PhysAddr{kPhysicalEnd});
    if (all.kind != MemoryKind::available || all.range.end <= limit) continue;
    bytes += all.range.end - (all.range.first < limit ? limit : all.range.first);
  }
  return bytes;
}

namespace {

bool less_valuable(const MemoryRange& one, const MemoryRange& other) {
  const bool available = one.kind == MemoryKind::available;
  if (available != (other.kind == MemoryKind::available)) return !available;
  return one.range.bytes() < other.range.bytes();
}

// Makes room for `next` in a full table by dropping the least valuable of them all.
void replace_least(BootInfo& info, const MemoryRange& next) {
  std::size_t least = 0;
  for (std::size_t i = 1; i < info.memory_ranges; ++i) {
    if (less_valuable(info.memory[i], info.memory[least])) least = i;
  }
  ++info.memory_ranges_dropped;
  if (!less_valuable(info.memory[least], next)) return;
  for (std::size_t i = least; i + 1 < info.memory_ranges; ++i) info.memory[i] = info.memory[i + 1];
  info.memory[info.memory_ranges - 1] = next;
}

}  // namespace

void MemoryMap::finish(BootInfo& info, PhysAddr limit) {
  info.memory_ranges = 0;
  info.memory_ranges_dropped = 0;
  info.bytes_above_limit = available_from(limit);
  for (std::size_t i = 0; i < edges_; ++i) {
    const MemoryRange next = range_at(i, limit);
    if (next.range.empty()) continue;
    if (info.memory_ranges < info.memory.size()) {
      info.memory[info.memory_ranges++] = next;
    } else {
      replace_least(info, next);
    }
  }
}

bool is_available(const BootInfo& info, PhysRange range) {
  for (std::size_t i = 0; i < info.memory_ranges; ++i) {
    const MemoryRange& memory = info.memory[i];
    if (memory.kind == MemoryKind::available && memory.range.contains(range)) return true;
  }
  return false;
}

bool is_memory(const BootInfo& info, PhysRange range) {
  constexpr PhysAddr kFirmwareEnd{memory::operator""_MiB(1)};
  PhysAddr known = range.first < kFirmwareEnd ? kFirmwareEnd : range.first;  // known up to here
  for (std::size_t i = 0; i < info.memory_ranges; ++i) {
    const MemoryRange& memory = info.memory[i];
    if (memory.kind != MemoryKind::bad && memory.range.contains(known)) known = memory.range.end;
  }
  return range.end <= known;
}

namespace {

// Adds `range` to the sorted, merged list of reserved ranges.
Result<void> add_reserved(BootInfo& info, PhysRange range) {
  std::size_t first = 0;  // the ranges from `first` to `stop` touch the new one and are merged into it
  while (first < info.reserved_ranges && info.reserved[first].end < range.first) ++first;
  std::size_t stop = first;
  while (stop < info.reserved_ranges && info.reserved[stop].first <= range.end) ++stop;
  if (first == stop) {
    if (info.reserved_ranges == info.reserved.size()) return Error::too_big;
    for (std::size_t i = info.reserved_ranges; i > first; --i) info.reserved[i] = info.reserved[i - 1];
    ++info.reserved_ranges;
    info.reserved[first] = range;
    return {};
  }
  if (info.reserved[first].first < range.first) range.first = info.reserved[first].first;
  if (info.reserved[stop - 1].end > range.end) range.end = info.reserved[stop - 1].end;
  info.reserved[first] = range;
  const std::size_t merged = stop - first - 1;
  info.reserved_ranges -= merged;
  for (std::size_t i = first + 1; i < info.reserved_ranges; ++i) info.reserved[i] = info.reserved[i + merged];
  return {};
}

}  // namespace

Result<void> reserve(BootInfo& info, PhysRange range) {
  if (range.empty()) return {};
  const PhysRange frames{range.first.aligned_down(kPageSize), range.end.aligned_up(kPageSize)};
  for (std::size_t i = 0; i < info.memory_ranges; ++i) {
    const MemoryRange& memory = info.memory[i];
    if (memory.kind != MemoryKind::available || !memory.range.overlaps(frames)) continue;
    const PhysRange part{frames.first < memory.range.first ? memory.range.first : frames.first,
                         frames.end > memory.range.end ? memory.range.end : frames.end};
    TRY(add_reserved(info, part));
  }
  return {};
}

namespace {

bool is_frames(PhysRange range) {
  return range.first < range.end && range.first.aligned_to(kPageSize) && range.end.aligned_to(kPageSize);
}

bool memory_valid(const BootInfo& info) {
  if (info.memory_ranges > info.memory.size()) return false;
  for (std::size_t i = 0; i < info.memory_ranges; ++i) {
    const MemoryRange& here = info.memory[i];
    if (!is_frames(here.range)) return false;
    if (i == 0) continue;
    const MemoryRange& before = info.memory[i - 1];
    if (before.range.end > here.range.first) return false;
    if (before.range.end == here.range.first && before.kind == here.kind) return false;  // not merged
  }
  return true;
}

bool reserved_valid(const BootInfo& info) {
  if (info.reserved_ranges > info.reserved.size()) return false;
  for (std::size_t i = 0; i < info.reserved_ranges; ++i) {
    if (!is_frames(info.reserved[i]) || !is_available(info, info.reserved[i])) return false;
    if (i > 0 && info.reserved[i - 1].end >= info.reserved[i].first) return false;
  }
  return true;
}

bool is_reserved(const BootInfo& info, PhysRange range) {
  for (std::size_t i = 0; i < info.reserved_ranges; ++i) {
    if (info.reserved[i].contains(range)) return true;
  }
  return range.empty();
}

}  // namespace

bool valid(const BootInfo& info) {
  if (!memory_valid(info) || !reserved_valid(info)) return false;
  if (info.module_count > info.modules.size()) return false;
  if (info.command_line_size > info.command_line_text.size()) return false;
  for (std::size_t i = 0; i < info.module_count; ++i) {
    if (!is_reserved(info, info.modules[i].range)) return false;
  }
  return true;
}

}  // namespace boot
