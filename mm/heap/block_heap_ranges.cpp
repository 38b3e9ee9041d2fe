// BlockHeap: its ranges come, grow and shrink; and what was wrong with a refused address.
// SPDX-License-Identifier: MIT
#include "mm/base/check.hpp"
#include "mm/heap/block_heap_fast.hpp"

namespace memory {

namespace {

constexpr std::uint64_t first_block(const HeapRange& range) { return range.first + HeapBlock::kHeaderBytes; }
constexpr std::uint64_t last_block(const HeapRange& range) { return range.end - HeapBlock::kHeaderBytes; }

}  // namespace

// ---- ranges --------------------------------------------------------------------------------------------------------

void BlockHeap::add(VirtRange added) {
  CHECK(room() && !added.empty() && added.bytes() <= kMaxRangePages * kPageSize);
  CHECK(added.first.aligned_to(kPageSize) && added.end.aligned_to(kPageSize));
  HeapRange& range = state_.ranges[state_.range_count];
  range = {added.first.value, added.end.value};
  ++state_.range_count;
  choose_window();
  word_at(range.first) = 0;
  write(last_block(range), Kind::used, 0);
  const auto bytes = static_cast<std::uint32_t>(last_block(range) - first_block(range));
  write(first_block(range), Kind::used, HeapKey::spread(bytes));
  CHECK(give(first_block(range), bytes) == Error::ok);  // it has no neighbours
  ++state_.expansions;
}

// The header that ended the range becomes that of a used block, which is given back.
Result<void> BlockHeap::extend(unsigned n, std::size_t added) {
  HeapRange& range = state_.ranges[n];
  const std::uint64_t block = last_block(range);
  const std::uint64_t header = at(block).header;
  std::uint64_t plain;
  if (!read_used(block, plain) || (HeapKey::info(plain) & ~HeapBlock::kPreviousFree) != 0)
    return fault(Error::corrupt_header, 0, block);
  const std::uint32_t info = HeapKey::info(plain) | static_cast<std::uint32_t>(added);
  write(block, Kind::used, HeapKey::spread(info));
  write(block + added, Kind::used, 0);
  const Error error = give(block, info);
  if (error != Error::ok) {
    at(block).header = header;
    return error;
  }
  range.end += added;
  choose_window();
  ++state_.expansions;
  return {};
}

std::size_t BlockHeap::tail_bytes(unsigned n) const {
  const std::uint64_t end = last_block(state_.ranges[n]);
  if (!is_whole(end, Kind::used, HeapBlock::kPreviousFree)) return 0;
  const std::uint64_t tail = free_before(end);
  return tail != 0 ? end - tail : 0;
}

std::size_t BlockHeap::cut(unsigned n, std::size_t pages, PageSource& source) {
  HeapRange& range = state_.ranges[n];
  const std::uint64_t end = last_block(range);
  const std::size_t bytes = tail_bytes(n);
  const std::uint64_t tail = end - bytes;
  Links links;
  if (bytes == 0 || !read_links(tail, bytes, links)) return 0;
  std::size_t most = (range.end - (tail + HeapBlock::kHeaderBytes)) / kPageSize;
  if (tail == first_block(range)) {
    most = (range.end - range.first) / kPageSize;
  } else if (bytes - most * kPageSize == HeapBlock::kGranule) {
    --most;  // no block is that small
  }
  if (most < pages) pages = most;
  if (pages == 0) return 0;

  unlink(bytes, links);
  heap_guard::unearth(tail + HeapBlock::kLinkedBytes, end - HeapBlock::kFooterBytes);
  const std::size_t taken = source.shrink(this->range(n), pages);
  CHECK(taken <= pages);
  if (taken != 0) ++state_.contractions;
  range.end -= taken * kPageSize;
  if (range.end == range.first) {
    range = state_.ranges[state_.range_count - 1];
    state_.ranges[--state_.range_count] = {};
    choose_window();
    return taken;
  }
  choose_window();
  write(last_block(range), Kind::used, 0);
  if (tail != last_block(range)) {
    const auto rest = static_cast<std::uint32_t>(last_block(range) - tail);
    write(tail, Kind::used, HeapKey::spread(rest));
    CHECK(give(tail, rest) == Error::ok);  // the block before it is used, and behind it the range ends
  }
  return taken;
}

// The largest range. A block begins nowhere in its last 24 bytes, so a free one's links can be read wherever one may.
void BlockHeap::choose_window() {
  const HeapRange* largest = &state_.ranges[0];
  for (std::uint64_t n = 1; n < state_.range_count; ++n)
    if (state_.ranges[n].end - state_.ranges[n].first > largest->end - largest->first)
      largest = &state_.ranges[n];
  window_first_ = first_block(*largest);
  const std::uint64_t bytes = largest->end - largest->first;
  window_granules_ = bytes == 0 ? 0 : (bytes - HeapBlock::kSmallest) / HeapBlock::kGranule;
}

HeapLevels BlockHeap::levels() const {
  HeapLevels levels{};
  for (std::uint64_t n = 0; n < state_.range_count; ++n)
    levels.total_bytes += state_.ranges[n].end - state_.ranges[n].first;
  levels.used_bytes = state_.used_bytes;
  levels.active_blocks = state_.allocations - state_.frees;
  levels.allocated_bytes = levels.used_bytes - levels.active_blocks * HeapBlock::kHeaderBytes;
  levels.free_bytes = levels.total_bytes - levels.used_bytes - state_.range_count * kRangeOverhead;
  if (state_.index.summary == 0) return levels;
  const unsigned word = highest_bit(state_.index.summary);
  std::uint64_t block =
      state_.index.heads[(word << HeapIndex::kSplitBits) + highest_bit(state_.index.words[word])];
  std::uint64_t most = levels.free_bytes / HeapBlock::kSmallest;  // so many blocks there can be
  while (may_be_block(block) && most-- != 0) {
    std::uint64_t plain;
    if (!read_free(block, plain)) break;
    const std::uint32_t bytes = HeapKey::info(plain);
    if (bytes > levels.largest_free + HeapBlock::kHeaderBytes)
      levels.largest_free = bytes - HeapBlock::kHeaderBytes;
    block = next_of(block);
  }
  return levels;
}

// ---- refusals ------------------------------------------------------------------------------------------------------

[[gnu::noinline]] Error BlockHeap::fault(Error error, std::uint64_t address, std::uint64_t place) {
  state_.fault = {error, address, place};
  ++state_.misuses;
  return error;
}

[[gnu::noinline]] Error BlockHeap::refuse(VirtAddr payload) {
  std::uint64_t place = 0;
  const Error error = diagnose(payload.value, place);
  return fault(error, payload.value, place);
}

// Walks the range from its start: the headers before a block that is not whole are the only way to tell its inside from
// its end.
Error BlockHeap::diagnose(std::uint64_t payload, std::uint64_t& place) const {
  for (std::uint64_t n = 0; n < state_.range_count; ++n) {
    const HeapRange& range = state_.ranges[n];
    if (payload < first_block(range) || payload >= range.end) continue;
    for (std::uint64_t block = first_block(range); block < last_block(range);) {
      Neighbour found;
      place = block;
      if (!read_neighbour(block, found) || found.bytes() == 0) return Error::corrupt_header;
      if (payload < block + found.bytes()) return found.is_free ? Error::double_free : Error::interior_free;
      block += found.bytes();
    }
    place = last_block(range);
  }
  return Error::wild_object;
}

}  // namespace memory
