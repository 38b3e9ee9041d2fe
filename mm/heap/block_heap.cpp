// BlockHeap: searching and resizing. The common request and release are in block_heap_fast.hpp, the ranges in block_heap_ranges.cpp, the proofs in
// block_heap_check.cpp.
// SPDX-License-Identifier: MIT
//
// Theory. A range is tiled by blocks; each knows its size, so the next one is found by an addition. A block whose
// predecessor is free says so in its header, and the predecessor's last word, its footer, repeats its size: so both
// neighbours are found in O(1), and a block that is given back merges at once. Nothing of this costs more than a header
// of 8 bytes, and no link lies in a block that is used.
//
//   range.first                                                                     range.end
//   | word | h used payload | h free links ... footer | H used payload | ... | h: used, 0 bytes |
//                                                       H: previous_free
//
// Free blocks are listed by size (heap_index.hpp). The list that is asked first has only blocks that are large enough;
// the one before it may have some, too, and is looked through only when there is no other.
//
// Invariants, proved by valid():
//   H1  ranges are whole pages, not empty, and disjoint
//   H2  blocks tile each range from its second word to the block of size 0 in its last; every header decodes
//   H3  a header says previous_free if and only if the block before it is free; so no two free blocks touch
//   H4  a free block's footer repeats its size; the block is on the list of its size, once, and links agree
//   H5  a bit of the index is set if and only if its list (word) is not empty
//   H6  used_bytes and the number of allocated blocks are what a walk finds
//   H7  a header that ceased to be one is cleared: it decodes nowhere, so what lies inside a block is never taken for
//       the beginning of one
#include "mm/heap/block_heap.hpp"

#include "mm/heap/block_heap_fast.hpp"

namespace memory {

namespace {

constexpr std::uint32_t kPreviousFree = HeapBlock::kPreviousFree;

constexpr std::size_t bytes_of(std::uint32_t info) { return info & ~HeapBlock::kFlags; }
constexpr std::uint32_t as_info(std::size_t bytes) { return static_cast<std::uint32_t>(bytes); }
constexpr std::uint64_t payload_of(std::uint64_t block) { return block + HeapBlock::kHeaderBytes; }

}  // namespace

bool BlockHeap::lies_elsewhere(std::uint64_t block) const {
  for (std::uint64_t n = 0; n < state_.range_count; ++n)
    if (block % HeapBlock::kGranule == HeapBlock::kHeaderBytes && block >= state_.ranges[n].first &&
        block < state_.ranges[n].end - HeapBlock::kLinkedBytes)
      return true;
  return false;
}

// ---- taking --------------------------------------------------------------------------------------------------------

// The list below those whose blocks are all large enough: some of its blocks may be. 0 when none is.
std::uint64_t BlockHeap::look_through(std::size_t want, Search search) const {
  constexpr unsigned kBrief = 8;
  const std::size_t list = HeapIndex::list_of(want);
  if (list == HeapIndex::list_from(want)) return 0;  // has been asked
  std::uint64_t before = 0;
  std::uint64_t block = state_.index.heads[list];
  for (std::uint64_t n = 0; block != 0 && (search == Search::full || n < kBrief); ++n) {
    // take() finds what is wrong with a block that comes to light here.
    if (before != 0 && (!may_be_block(block) || previous_of(block) != before)) return before;
    std::uint64_t plain;
    if (!read_free(block, plain) || HeapKey::info(plain) >= want) return block;
    before = block;
    block = next_of(block);
  }
  return 0;
}

// A block with room for the worst place: a free block in front of the payload has kSmallest bytes at least.
Result<VirtAddr> BlockHeap::search(std::size_t bytes, std::size_t align, Search search) {
  const std::size_t worst = worst_bytes(bytes, align);
  std::size_t list = HeapIndex::list_from(worst);
  const std::uint64_t block =
      state_.index.find(list) ? state_.index.heads[list] : look_through(worst, search);
  if (block == 0) return Error::no_memory;
  return take(block, block_bytes(bytes), align);
}

// `block`, which is free, serves `want` bytes whose payload lies at a multiple of `align`.
Result<VirtAddr> BlockHeap::take(std::uint64_t block, std::size_t want, std::size_t align) {
  std::uint64_t plain;
  Neighbour next;
  Links links;
  if (!read_free(block, plain)) return fault(Error::corrupt_header, 0, block);
  const std::size_t have = HeapKey::info(plain);
  if (!read_neighbour(block + have, next) || next.is_free || !next.says_previous_free())
    return fault(Error::corrupt_header, 0, block + have);
  if (!read_links(block, have, links)) return fault(Error::corrupt_link, 0, block);
  if (have < want) return fault(Error::corrupt_link, 0, block);  // look_through() came upon the next one

  unlink(have, links);
  std::size_t gap = VirtAddr{payload_of(block)}.aligned_up(align).value - payload_of(block);
  if (gap != 0 && gap < HeapBlock::kSmallest) gap += align;
  if (gap != 0) {
    heap_guard::unearth(block + gap - HeapBlock::kFooterBytes, block + gap + HeapBlock::kLinkedBytes);
    write_free(block, gap);
    insert(block, gap);
  }
  const std::uint32_t flags = gap != 0 ? kPreviousFree : 0;
  if (have - gap - want >= HeapBlock::kSmallest) return split(block + gap, have - gap, want, flags);
  return hand_out_whole(block + gap, have - gap, next, flags);
}

// Makes `block`, unlisted and `have` bytes large, a used one of `want`, and what is left of it a free one.
inline VirtAddr BlockHeap::split(std::uint64_t block, std::size_t have, std::size_t want,
                                 std::uint32_t flags) {
  heap_guard::unearth(block + HeapBlock::kLinkedBytes, block + want + HeapBlock::kLinkedBytes);
  write_free(block + want, have - want);
  insert(block + want, have - want);
  write(block, Kind::used, HeapKey::spread(as_info(want) | flags));
  state_.used_bytes += want;
  ++state_.allocations;
  return VirtAddr{payload_of(block)};
}

[[gnu::noinline]] VirtAddr BlockHeap::hand_out_part(std::uint64_t block, std::size_t have, std::size_t want) {
  return split(block, have, want, 0);
}

// ---- giving --------------------------------------------------------------------------------------------------------

// A used block becomes a free one, and one with the free ones beside it. Fails with nothing changed.
inline Error BlockHeap::merge(std::uint64_t block, std::uint32_t info, bool& long_tail) {
  std::size_t bytes = bytes_of(info);
  Neighbour next;
  Links links;
  if (!read_neighbour(block + bytes, next) || next.says_previous_free())
    return fault(Error::corrupt_header, 0, block + bytes);
  if (next.is_free && !read_links(next.block, next.bytes(), links))
    return fault(Error::corrupt_link, 0, next.block);

  std::uint64_t first = block;
  std::uint64_t buried = block + HeapBlock::kLinkedBytes;
  if ((info & kPreviousFree) != 0) {
    Links links_before;
    first = free_before(block);
    if (first == 0) return fault(Error::corrupt_header, 0, block - HeapBlock::kFooterBytes);
    if (!read_links(first, block - first, links_before)) return fault(Error::corrupt_link, 0, first);
    unlink(block - first, links_before);
    at(block).header = 0;  // H7
    bytes += block - first;
    buried = block - HeapBlock::kFooterBytes;
  }
  std::uint64_t buried_end = next.block - HeapBlock::kFooterBytes;
  if (next.is_free) {
    // Read anew: on the list the block before may have been its neighbour.
    unlink(next.bytes(), {at(next.block).next, at(next.block).previous});
    at(next.block).header = 0;  // H7
    bytes += next.bytes();
    buried_end = next.block + HeapBlock::kLinkedBytes;
  } else {
    mark_previous_free(next);
  }
  heap_guard::bury(buried, buried_end);
  write_free(first, bytes);
  insert(first, bytes);
  long_tail = bytes >= kTrimBytes && is_whole(first + bytes, Kind::used, kPreviousFree);
  return Error::ok;
}

Error BlockHeap::give(std::uint64_t block, std::uint32_t info) {
  bool long_tail;  // nobody asks
  return merge(block, info, long_tail);
}

[[gnu::noinline]] BlockHeap::Release BlockHeap::release_with_care(VirtAddr payload) {
  const std::uint64_t block = payload.value - HeapBlock::kHeaderBytes;
  std::uint64_t plain;
  bool long_tail = false;
  if (!may_be_block(block) || !read_used(block, plain)) {
    (void)refuse(payload);
    return Release::refused;
  }
  if (merge(block, HeapKey::info(plain), long_tail) != Error::ok) {
    state_.fault.address = payload.value;
    return Release::refused;
  }
  state_.used_bytes -= bytes_of(HeapKey::info(plain));
  ++state_.frees;
  return long_tail ? Release::long_tail : Release::done;
}

// ---- resizing ------------------------------------------------------------------------------------------------------

Result<void> BlockHeap::resize(VirtAddr payload, std::size_t bytes) {
  const std::uint64_t block = payload.value - HeapBlock::kHeaderBytes;
  std::uint64_t plain;
  if (!may_be_block(block) || !read_used(block, plain)) return refuse(payload);
  const std::uint32_t info = HeapKey::info(plain);
  if (bytes > kMaxBytes) return Error::no_memory;
  const std::size_t want = block_bytes(bytes);
  const std::size_t have = bytes_of(info);
  if (want > have) return grow_in_place(block, info, want);
  if (have - want < HeapBlock::kSmallest) return {};

  // What is too much becomes a used block, and is given back like any other.
  const std::uint64_t header = at(block).header;
  const std::uint64_t word = word_at(block + want);
  write(block, Kind::used, HeapKey::spread(as_info(want) | (info & HeapBlock::kFlags)));
  write(block + want, Kind::used, HeapKey::spread(as_info(have - want)));
  const Error error = give(block + want, as_info(have - want));
  if (error != Error::ok) {
    at(block).header = header;
    word_at(block + want) = word;
    state_.fault.address = payload.value;
    return error;
  }
  state_.used_bytes -= have - want;
  return {};
}

Error BlockHeap::grow_in_place(std::uint64_t block, std::uint32_t info, std::size_t want) {
  const std::size_t have = bytes_of(info);
  Neighbour next;
  Neighbour behind;
  Links links;
  if (!read_neighbour(block + have, next) || next.says_previous_free())
    return fault(Error::corrupt_header, payload_of(block), block + have);
  if (!next.is_free || have + next.bytes() < want) return Error::no_memory;
  if (!read_neighbour(next.block + next.bytes(), behind) || behind.is_free || !behind.says_previous_free())
    return fault(Error::corrupt_header, payload_of(block), next.block + next.bytes());
  if (!read_links(next.block, next.bytes(), links))
    return fault(Error::corrupt_link, payload_of(block), next.block);

  unlink(next.bytes(), links);
  at(next.block).header = 0;  // H7
  const std::size_t whole = have + next.bytes();
  const std::size_t rest = whole - want;
  const bool splits = rest >= HeapBlock::kSmallest;
  heap_guard::unearth(next.block + HeapBlock::kLinkedBytes, splits ? block + want + HeapBlock::kLinkedBytes
                                                                   : behind.block - HeapBlock::kFooterBytes);
  if (splits) {
    write_free(block + want, rest);
    insert(block + want, rest);
  } else {
    mark_previous_used(behind);
  }
  const std::size_t now = splits ? want : whole;
  write(block, Kind::used, HeapKey::spread(as_info(now) | (info & HeapBlock::kFlags)));
  state_.used_bytes += now - have;
  return Error::ok;
}

Result<std::size_t> BlockHeap::usable_bytes(VirtAddr payload) {
  const std::uint64_t block = payload.value - HeapBlock::kHeaderBytes;
  std::uint64_t plain;
  if (!may_be_block(block) || !read_used(block, plain)) return refuse(payload);
  const std::uint32_t info = HeapKey::info(plain);
  return bytes_of(info) - HeapBlock::kHeaderBytes;
}

}  // namespace memory
