// An available range is cut into what lies below, the held part, and what lies above.
// SPDX-License-Identifier: MIT
#include "boot/hold.hpp"

#include <array>

#include "mm/base/check.hpp"

namespace boot {

using memory::BootInfo;
using memory::Error;
using memory::kPageSize;
using memory::MemoryKind;
using memory::MemoryRange;
using memory::PhysRange;
using memory::Result;

namespace {

// Joins neighbours of one kind: a hold next to a hold is one range (the promise of BootInfo::memory).
std::size_t merge(std::array<MemoryRange, 5>& pieces, std::size_t count) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (pieces[i].range.empty()) continue;
    if (kept > 0 && pieces[kept - 1].kind == pieces[i].kind &&
        pieces[kept - 1].range.touches(pieces[i].range)) {
      pieces[kept - 1].range.end = pieces[i].range.end;
    } else {
      pieces[kept++] = pieces[i];
    }
  }
  return kept;
}

// Puts `count` pieces in the place of info.memory[first, stop).
Result<void> replace(BootInfo& info, std::size_t first, std::size_t stop, const MemoryRange* pieces,
                     std::size_t count) {
  const std::size_t ranges = info.memory_ranges - (stop - first) + count;
  if (ranges > info.memory.size()) return Error::too_big;
  const std::size_t tail = info.memory_ranges - stop;
  if (first + count > stop) {
    for (std::size_t i = tail; i > 0; --i) info.memory[first + count + i - 1] = info.memory[stop + i - 1];
  } else {
    for (std::size_t i = 0; i < tail; ++i) info.memory[first + count + i] = info.memory[stop + i];
  }
  for (std::size_t i = 0; i < count; ++i) info.memory[first + i] = pieces[i];
  info.memory_ranges = ranges;
  return {};
}

}  // namespace

Result<void> hold(BootInfo& info, PhysRange range) {
  CHECK(!range.empty() && range.first.aligned_to(kPageSize) && range.end.aligned_to(kPageSize));
  std::size_t at = 0;
  while (at < info.memory_ranges &&
         (info.memory[at].kind != MemoryKind::available || !info.memory[at].range.contains(range))) {
    ++at;
  }
  if (at == info.memory_ranges) return Error::not_found;
  for (std::size_t i = 0; i < info.reserved_ranges; ++i) {
    if (info.reserved[i].overlaps(range)) return Error::busy;
  }
  const auto parts = info.memory[at].range.subtract(range);
  const bool has_below = at > 0;
  const bool has_above = at + 1 < info.memory_ranges;
  std::array<MemoryRange, 5> pieces{};
  std::size_t count = 0;
  if (has_below) pieces[count++] = info.memory[at - 1];
  pieces[count++] = {parts.below, MemoryKind::available};
  pieces[count++] = {range, MemoryKind::held};
  pieces[count++] = {parts.above, MemoryKind::available};
  if (has_above) pieces[count++] = info.memory[at + 1];
  count = merge(pieces, count);
  return replace(info, has_below ? at - 1 : at, has_above ? at + 2 : at + 1, pieces.data(), count);
}

}  // namespace boot
