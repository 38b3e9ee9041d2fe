// The proofs of the BlockHeap: a walk over its ranges against its lists and sums. See block_heap.cpp for H1-H7.
// SPDX-License-Identifier: MIT
#include "mm/heap/block_heap_fast.hpp"

namespace memory {

struct BlockHeap::Census {
  std::uint64_t used_blocks = 0;
  std::uint64_t used_bytes = 0;
  std::uint64_t free_blocks = 0;
  std::uint64_t free_bytes = 0;
};

bool BlockHeap::valid() const {
  if (state_.range_count > HeapState::kMaxRanges || state_.secret != key_.secret()) return false;
  for (std::uint64_t n = 0; n < state_.range_count; ++n) {  // H1
    const HeapRange& range = state_.ranges[n];
    if (range.first % kPageSize != 0 || range.end % kPageSize != 0 || range.first >= range.end) return false;
    for (std::uint64_t m = 0; m < n; ++m)
      if (range.first < state_.ranges[m].end && state_.ranges[m].first < range.end) return false;
  }
  Census found;
  for (std::uint64_t n = 0; n < state_.range_count; ++n)
    if (!range_valid(state_.ranges[n], found)) return false;
  return lists_valid(found) && found.used_blocks == state_.allocations - state_.frees &&
         found.used_bytes == state_.used_bytes;  // H6
}

// H2, H3, H4 but for the lists.
bool BlockHeap::range_valid(const HeapRange& range, Census& found) const {
  const std::uint64_t end = range.end - HeapBlock::kHeaderBytes;
  bool before_is_free = false;
  for (std::uint64_t block = range.first + HeapBlock::kHeaderBytes; block != end;) {
    Neighbour here;
    if (!read_neighbour(block, here)) return false;
    const std::size_t bytes = here.bytes();
    if (bytes < HeapBlock::kSmallest || bytes > end - block) return false;
    if ((HeapKey::info(here.plain) & HeapBlock::kFlags & ~HeapBlock::kPreviousFree) != 0) return false;
    if (here.says_previous_free() != before_is_free) return false;
    if (here.is_free && (before_is_free || free_before(block + bytes) != block)) return false;
    ++(here.is_free ? found.free_blocks : found.used_blocks);
    (here.is_free ? found.free_bytes : found.used_bytes) += bytes;
    before_is_free = here.is_free;
    block += bytes;
  }
  return is_whole(end, Kind::used, before_is_free ? HeapBlock::kPreviousFree : 0);
}

// H4 and H5. As many blocks are listed, each once, as the ranges have, each on the list of its size: so all are.
bool BlockHeap::lists_valid(Census& found) const {
  const HeapIndex& index = state_.index;
  std::uint64_t blocks = 0;
  std::uint64_t total = 0;
  for (unsigned list = 0; list < HeapIndex::kLists; ++list) {
    const unsigned word = list >> HeapIndex::kSplitBits;
    if ((index.words[word] >> (list & 63) & 1) != (index.heads[list] != 0)) return false;
    if ((index.summary >> word & 1) != (index.words[word] != 0)) return false;
    std::uint64_t before = 0;
    for (std::uint64_t block = index.heads[list]; block != 0; ++blocks) {
      if (!may_be_block(block) || blocks == found.free_blocks) return false;
      std::uint64_t plain;
      if (!read_free(block, plain)) return false;
      const std::uint32_t bytes = HeapKey::info(plain);
      if (HeapIndex::list_of(bytes) != list || previous_of(block) != before) return false;
      total += bytes;
      before = block;
      block = next_of(block);
    }
  }
  return index.summary >> HeapIndex::kWords == 0 && index.words[HeapIndex::kWords] == 0 &&
         blocks == found.free_blocks && total == found.free_bytes;
}

}  // namespace memory
