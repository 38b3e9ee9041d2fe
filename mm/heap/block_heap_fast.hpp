// BlockHeap: what the common request and release consist of, to be inlined into both. For the .cpp files of the heap.
// SPDX-License-Identifier: MIT
#pragma once
#include <bit>

#include "mm/heap/block_heap.hpp"
#include "mm/heap/heap_guard.hpp"

#define HEAP_INLINE [[gnu::always_inline]] inline

namespace memory {

// ---- reading: nothing here changes anything ------------------------------------------------------------------------

// Whether a block could begin there, in the window when `care` is brief. One rotation turns "lies in the window" and "at
// a multiple of the granule" into one comparison.
template <BlockHeap::Care care>
HEAP_INLINE bool BlockHeap::may_be_block(std::uint64_t block) const {
  if (std::rotr(block - window_first_, 4) < window_granules_) [[likely]]
    return true;
  return care == Care::full && lies_elsewhere(block);
}
static_assert(HeapBlock::kGranule == 1 << 4);

HEAP_INLINE bool BlockHeap::is_whole(std::uint64_t place, Kind kind, std::uint32_t info) const {
  return word_at(place) == key_.encode(place, kind, HeapKey::spread(info));
}

HEAP_INLINE bool BlockHeap::read_used(std::uint64_t block, std::uint64_t& plain) const {
  return key_.decode(heap_guard::peek(block), block, Kind::used, plain);
}

// A free block has no flags: its info is its size.
HEAP_INLINE bool BlockHeap::read_free(std::uint64_t block, std::uint64_t& plain) const {
  return key_.decode(heap_guard::peek(block), block, Kind::free, plain);
}

// The block behind one whose header decoded, so it lies in the range.
HEAP_INLINE bool BlockHeap::read_neighbour(std::uint64_t block, Neighbour& found) const {
  found.block = block;
  found.is_free = false;
  if (key_.decode(at(block).header, block, Kind::used, found.plain)) [[likely]]
    return true;
  found.is_free = true;
  return read_free(block, found.plain);
}

// A link as yet unproved may lead into the poisoned inside of a block.
HEAP_INLINE std::uint64_t BlockHeap::next_of(std::uint64_t block) {
  return heap_guard::peek(block + offsetof(HeapBlock, next));
}
HEAP_INLINE std::uint64_t BlockHeap::previous_of(std::uint64_t block) {
  return heap_guard::peek(block + offsetof(HeapBlock, previous));
}

// The links of a free block of that size, if what they lead to leads back.
template <BlockHeap::Care care>
HEAP_INLINE bool BlockHeap::read_links(std::uint64_t block, std::size_t bytes, Links& links) const {
  links = {at(block).next, at(block).previous};
  if (links.next != 0 && (!may_be_block<care>(links.next) || previous_of(links.next) != block)) [[unlikely]]
    return false;
  if (links.previous == 0) return state_.index.heads[HeapIndex::list_of(bytes)] == block;
  return may_be_block<care>(links.previous) && next_of(links.previous) == block;
}

// The block before one that says that it is free; 0 when its footer or header does not bear that out. Both hold the same
// info, so they differ by their addresses.
HEAP_INLINE std::uint64_t BlockHeap::free_before(std::uint64_t block) const {
  const std::uint64_t footer = block - HeapBlock::kFooterBytes;
  std::uint64_t plain;
  if (!key_.decode(word_at(footer), footer, Kind::free, plain)) [[unlikely]]
    return 0;
  const std::uint64_t first = block - HeapKey::info(plain);
  return (at(first).header ^ first) == (word_at(footer) ^ footer) ? first : 0;
}

// ---- writing -------------------------------------------------------------------------------------------------------

HEAP_INLINE void BlockHeap::write(std::uint64_t block, Kind kind, std::uint64_t plain) {
  at(block).header = key_.encode(block, kind, plain);
}

// spread() of an info with the lowest bit set is larger by kSpread than without.
static_assert(HeapBlock::kPreviousFree == 1);
HEAP_INLINE void BlockHeap::mark_previous_free(const Neighbour& next) {
  write(next.block, Kind::used, next.plain + HeapKey::kSpread);
}
HEAP_INLINE void BlockHeap::mark_previous_used(const Neighbour& next) {
  write(next.block, Kind::used, next.plain - HeapKey::kSpread);
}

// `plain` is spread(bytes).
HEAP_INLINE void BlockHeap::write_free(std::uint64_t block, std::size_t bytes, std::uint64_t plain) {
  const std::uint64_t footer = block + bytes - HeapBlock::kFooterBytes;
  const std::uint64_t word = key_.encode(0, Kind::free, plain);
  at(block).header = word ^ block;
  word_at(footer) = word ^ footer;
}
HEAP_INLINE void BlockHeap::write_free(std::uint64_t block, std::size_t bytes) {
  write_free(block, bytes, HeapKey::spread(static_cast<std::uint32_t>(bytes)));
}

HEAP_INLINE void BlockHeap::insert(std::uint64_t block, std::size_t bytes) {
  const std::size_t list = HeapIndex::list_of(bytes);
  const std::uint64_t head = state_.index.heads[list];
  at(block).next = head;
  at(block).previous = 0;
  state_.index.heads[list] = block;
  if (head != 0) {
    at(head).previous = block;
  } else {
    state_.index.set(list);
  }
}

// A free block of that size leaves its list; its links have been read.
HEAP_INLINE void BlockHeap::unlink(std::size_t bytes, const Links& links) {
  if (links.next != 0) at(links.next).previous = links.previous;
  if (links.previous != 0) {
    at(links.previous).next = links.next;
    return;
  }
  const std::size_t list = HeapIndex::list_of(bytes);
  state_.index.heads[list] = links.next;
  if (links.next == 0) state_.index.clear(list);
}

// ---- taking --------------------------------------------------------------------------------------------------------

// As take(), but the block is the head of its list, and what is unusual is left to search(): so nothing is called here.
HEAP_INLINE Result<VirtAddr> BlockHeap::allocate(std::size_t bytes) {
  const std::size_t want = block_bytes(bytes);
  return allocate_from(HeapIndex::list_from(want), want);
}

HEAP_INLINE Result<VirtAddr> BlockHeap::allocate_small(std::size_t bytes) {
  const std::size_t want = block_bytes(bytes);
  return allocate_from(want / HeapBlock::kGranule, want);
}
static_assert(BlockHeap::block_bytes(BlockHeap::kSmallEnd - 1) < HeapIndex::kExactBytes);

HEAP_INLINE Result<VirtAddr> BlockHeap::allocate_from(std::size_t list, std::size_t want) {
  if (!state_.index.find(list)) [[unlikely]]
    return Error::no_memory;
  const std::uint64_t block = state_.index.heads[list];
  std::uint64_t plain;
  Neighbour next;
  if (!read_free(block, plain)) [[unlikely]]
    return Error::no_memory;
  const std::size_t have = HeapKey::info(plain);
  if (!read_neighbour(block + have, next) || next.is_free || !next.says_previous_free()) [[unlikely]]
    return Error::no_memory;
  const std::uint64_t second = at(block).next;
  if (at(block).previous != 0) [[unlikely]]
    return Error::no_memory;
  if (second != 0 && (!may_be_block<Care::brief>(second) || previous_of(second) != block)) [[unlikely]]
    return Error::no_memory;

  state_.index.heads[list] = second;
  if (second != 0) {
    at(second).previous = 0;
  } else {
    state_.index.clear(list);
  }
  if (have - want >= HeapBlock::kSmallest) return hand_out_part(block, have, want);
  return hand_out_whole(block, have, next, 0);
}

// Makes `block`, unlisted and `have` bytes large, a used one with these flags. `next` is behind it.
HEAP_INLINE VirtAddr BlockHeap::hand_out_whole(std::uint64_t block, std::size_t have, const Neighbour& next,
                                               std::uint32_t flags) {
  heap_guard::unearth(block + HeapBlock::kLinkedBytes, next.block - HeapBlock::kFooterBytes);
  mark_previous_used(next);
  write(block, Kind::used, HeapKey::spread(static_cast<std::uint32_t>(have) | flags));
  state_.used_bytes += have;
  ++state_.allocations;
  return VirtAddr{block + HeapBlock::kHeaderBytes};
}

// ---- giving --------------------------------------------------------------------------------------------------------

// The common case is a block between two used ones. What merges is a call away; so are misuse, corruption, and ranges
// beside the window.
HEAP_INLINE BlockHeap::Release BlockHeap::release(VirtAddr payload) {
  const std::uint64_t block = payload.value - HeapBlock::kHeaderBytes;
  std::uint64_t plain;
  Neighbour next;
  if (!may_be_block<Care::brief>(block) || !read_used(block, plain)) [[unlikely]]
    return release_with_care(payload);
  const std::size_t bytes = HeapKey::info(plain);
  if ((bytes & HeapBlock::kFlags) != 0 || bytes >= kTrimBytes) [[unlikely]]
    return release_with_care(payload);
  if (!read_neighbour(block + bytes, next) || next.is_free || next.says_previous_free()) [[unlikely]]
    return release_with_care(payload);
  mark_previous_free(next);
  heap_guard::bury(block + HeapBlock::kLinkedBytes, next.block - HeapBlock::kFooterBytes);
  write_free(block, bytes, plain);
  insert(block, bytes);
  state_.used_bytes -= bytes;
  ++state_.frees;
  return Release::done;
}

}  // namespace memory
