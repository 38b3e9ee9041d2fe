// SPDX-License-Identifier: MIT
#include "mm/heap/block_around.hpp"

#include <algorithm>

#include "mm/heap/heap_guard.hpp"

namespace memory {

namespace {

// The block whose header lies at `place`, if it is one and ends at or before `end`.
Result<FoundBlock> block_at(const HeapKey& key, std::uint64_t place, std::uint64_t end) {
  const std::uint64_t word = heap_guard::peek(place);
  std::uint64_t plain = 0;
  auto kind = HeapKey::Kind::used;
  if (!key.decode(word, place, kind, plain)) {
    kind = HeapKey::Kind::free;
    if (!key.decode(word, place, kind, plain)) return Error::not_found;
  }
  const std::uint64_t bytes = HeapKey::info(plain) & ~HeapBlock::kFlags;
  if (bytes < HeapBlock::kSmallest || bytes > end - place) return Error::not_found;
  return FoundBlock{place + HeapBlock::kHeaderBytes, bytes - HeapBlock::kHeaderBytes, kind};
}

}  // namespace

Result<FoundBlock> block_around(const HeapState& state, VirtAddr address) {
  const HeapKey key(state.secret);
  const std::uint64_t ranges = std::min<std::uint64_t>(state.range_count, HeapState::kMaxRanges);
  for (std::uint64_t n = 0; n < ranges; ++n) {
    const HeapRange range = state.ranges[n];
    if (address.value < range.first || address.value >= range.end) continue;
    const std::uint64_t end = range.end - HeapBlock::kHeaderBytes;
    for (std::uint64_t place = range.first + HeapBlock::kHeaderBytes; place < end;) {
      const FoundBlock found = TRY(block_at(key, place, end));
      if (address.value < place) break;
      place = found.payload + found.bytes;
      if (address.value < place) return found;
    }
  }
  return Error::not_found;
}

}  // namespace memory
