// BlockHeap: blocks of any size out of ranges of memory, split and merged in constant time. Takes no lock.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/range.hpp"
#include "mm/heap/heap_index.hpp"
#include "mm/heap/page_source.hpp"

namespace memory {

// Standard layout, like all that follows: outside readers walk a heap from its HeapState.
struct HeapRange {
  std::uint64_t first = 0;  // virtual addresses of whole pages
  std::uint64_t end = 0;
};

// The last refusal: what was asked, and the word in memory that contradicts it.
struct HeapFault {
  Error error = Error::ok;
  std::uint64_t address = 0;  // that was to be freed; 0 when an allocation came upon it
  std::uint64_t place = 0;    // the header, link or footer that is wrong, or the block that `address` lies in
};

struct HeapState {
  static constexpr unsigned kMaxRanges = 32;

  std::uint64_t secret = 0;        // [I]
  std::uint64_t used_bytes = 0;    // of allocated blocks, headers included
  std::uint64_t allocations = 0;   // blocks handed out
  std::uint64_t frees = 0;         // blocks taken back
  std::uint64_t failures = 0;      // requests refused for want of memory
  std::uint64_t misuses = 0;       // refused because something is wrong
  std::uint64_t expansions = 0;    // times that pages were added
  std::uint64_t contractions = 0;  // times that pages were given back
  HeapFault fault;
  std::uint64_t range_count = 0;
  std::array<HeapRange, kMaxRanges> ranges{};  // the first `range_count`, in no order
  HeapIndex index;
};

// What a heap holds at one moment, in bytes.
struct HeapLevels {
  std::uint64_t total_bytes;      // of all ranges
  std::uint64_t used_bytes;       // of allocated blocks, headers included
  std::uint64_t allocated_bytes;  // that callers may use: without the headers
  std::uint64_t free_bytes;       // of free blocks
  std::uint64_t active_blocks;
  std::uint64_t largest_free;  // the largest request that needs no more pages
};

// The ranges belong to whoever adds them; between add and cut every byte is the heap's or a caller's. Requests and
// releases are O(1), but for a refusal, which may look at every block to say what is wrong, and for an allocation that
// would fail, which first looks through the one list that might have something.
//
// Every operation decodes the headers of the block and of its neighbours before it changes anything, and the links of a
// free block before it follows them. Where one is wrong it fails with corrupt_header or corrupt_link, and nothing has
// changed but `fault` and the count of misuses.
class BlockHeap {
 public:
  static constexpr std::size_t kMaxRangePages = (std::size_t{1} << 20) - 1;  // sizes have 32 bits
  static constexpr std::size_t kMaxBytes = (kMaxRangePages - 1) * kPageSize;
  static constexpr std::size_t kMaxAlign = std::size_t{2} << 20;
  // What a range holds besides blocks: a word in front, and the header of the block of size 0 that ends it.
  static constexpr std::size_t kRangeOverhead = 16;

  explicit BlockHeap(std::uint64_t secret) : key_(secret) { state_.secret = secret; }
  BlockHeap(const BlockHeap&) = delete;
  BlockHeap& operator=(const BlockHeap&) = delete;

  // The size of the block for a request. Precondition: bytes <= kMaxBytes.
  static constexpr std::size_t block_bytes(std::size_t bytes) {
    constexpr std::size_t kRound = HeapBlock::kHeaderBytes + HeapBlock::kGranule - 1;
    const std::size_t rounded = (bytes + kRound) & ~(HeapBlock::kGranule - 1);
    return rounded < HeapBlock::kSmallest ? HeapBlock::kSmallest : rounded;
  }

  // The same for one whose payload may have to lie further on.
  static constexpr std::size_t worst_bytes(std::size_t bytes, std::size_t align) {
    return block_bytes(bytes) + (align > HeapBlock::kGranule ? align + HeapBlock::kSmallest : 0);
  }

  // A payload of `bytes` at least, at a multiple of 16; 0 bytes get the smallest block there is. Its contents are
  // undefined. Fails with no_memory when there is none at hand: search() may find one, or what is wrong. Precondition:
  // bytes <= kMaxBytes.
  Result<VirtAddr> allocate(std::size_t bytes);
  // The same for bytes < kSmallEnd, sooner.
  static constexpr std::size_t kSmallEnd =
      HeapIndex::kExactBytes - HeapBlock::kHeaderBytes - HeapBlock::kGranule;
  Result<VirtAddr> allocate_small(std::size_t bytes);
  // The same out of what allocate() leaves alone, and at a multiple of `align`, a power of two up to kMaxAlign: `search`
  // says whether to look for it at length. no_memory after a full search means that nothing fits.
  enum class Search : std::uint8_t { brief, full };
  Result<VirtAddr> search(std::size_t bytes, std::size_t align, Search search);

  // Takes back a payload. `long_tail`: so much is free now at the end of a range that a part should go. `refused`: it is
  // no payload, or something around it is corrupt; state().fault says what, as an Error: double_free; interior_free when
  // `payload` lies inside an allocated block; wild_object when it lies in no block of this heap.
  enum class Release : std::uint8_t { done, long_tail, refused };
  Release release(VirtAddr payload);

  // Makes the block of `payload` as large as `bytes` need, where it is: it gives back what it has too much, and takes
  // from the block behind it what it lacks. Fails with no_memory when that is not enough, else as release() refuses.
  Result<void> resize(VirtAddr payload, std::size_t bytes);

  // What the owner of that payload may use. Fails as release() refuses.
  Result<std::size_t> usable_bytes(VirtAddr payload);

  // -- ranges

  // A new one, and all of it free. Precondition: it overlaps none, has at most kMaxRangePages, and there is room().
  bool room() const { return state_.range_count < HeapState::kMaxRanges; }
  void add(VirtRange range);
  // `bytes` more directly behind range `n`, whole pages. Fails as an allocation does when the last block is corrupt.
  Result<void> extend(unsigned n, std::size_t bytes);
  // Bytes of the free block that ends range `n`; 0 when none does, or when something there is corrupt.
  std::size_t tail_bytes(unsigned n) const;
  // Gives `source` up to `pages` whole pages that are free at the end of range `n`, and returns how many it took. With
  // its last page a range is gone, and the last one takes its number.
  std::size_t cut(unsigned n, std::size_t pages, PageSource& source);
  VirtRange range(unsigned n) const {
    return {VirtAddr{state_.ranges[n].first}, VirtAddr{state_.ranges[n].end}};
  }
  unsigned ranges() const { return static_cast<unsigned>(state_.range_count); }

  static constexpr std::size_t kTrimBytes = 256 << 10;

  // Calls body(VirtRange) for what the owner of each used block may use. In a range it ends before the first corrupt header.
  template <typename Body>
  void for_each_used(Body&& body) const;

  HeapState& state() { return state_; }
  const HeapState& state() const { return state_; }
  HeapLevels levels() const;

  // Proves every invariant of block_heap.cpp. O(blocks).
  bool valid() const;

 private:
  struct Links {
    std::uint64_t next;
    std::uint64_t previous;
  };
  using Kind = HeapKey::Kind;
  struct Neighbour {  // the block behind another
    std::uint64_t block;
    std::uint64_t plain;  // spread(info)
    bool is_free;
    std::size_t bytes() const { return HeapKey::info(plain) & ~HeapBlock::kFlags; }
    bool says_previous_free() const { return (plain & HeapBlock::kPreviousFree) != 0; }
  };

  static HeapBlock& at(std::uint64_t block) { return *reinterpret_cast<HeapBlock*>(block); }
  static std::uint64_t& word_at(std::uint64_t place) { return *reinterpret_cast<std::uint64_t*>(place); }

  // block_heap_fast.hpp
  enum class Care : std::uint8_t { brief, full };
  template <Care care = Care::full>
  bool may_be_block(std::uint64_t block) const;
  bool is_whole(std::uint64_t place, Kind kind, std::uint32_t info) const;
  bool read_used(std::uint64_t block, std::uint64_t& plain) const;
  bool read_free(std::uint64_t block, std::uint64_t& plain) const;
  bool read_neighbour(std::uint64_t block, Neighbour& found) const;
  template <Care care = Care::full>
  bool read_links(std::uint64_t block, std::size_t bytes, Links& links) const;
  static std::uint64_t next_of(std::uint64_t block);
  static std::uint64_t previous_of(std::uint64_t block);
  std::uint64_t free_before(std::uint64_t block) const;
  void write(std::uint64_t block, Kind kind, std::uint64_t plain);
  void mark_previous_free(const Neighbour& next);
  void mark_previous_used(const Neighbour& next);
  void write_free(std::uint64_t block, std::size_t bytes, std::uint64_t plain);
  void write_free(std::uint64_t block, std::size_t bytes);
  void insert(std::uint64_t block, std::size_t bytes);
  void unlink(std::size_t bytes, const Links& links);
  Result<VirtAddr> allocate_from(std::size_t list, std::size_t want);
  VirtAddr hand_out_whole(std::uint64_t block, std::size_t have, const Neighbour& next, std::uint32_t flags);

  VirtAddr hand_out_part(std::uint64_t block, std::size_t have, std::size_t want);
  VirtAddr split(std::uint64_t block, std::size_t have, std::size_t want, std::uint32_t flags);
  Error merge(std::uint64_t block, std::uint32_t info, bool& long_tail);
  Error give(std::uint64_t block, std::uint32_t info);
  Release release_with_care(VirtAddr payload);
  bool lies_elsewhere(std::uint64_t block) const;
  std::uint64_t look_through(std::size_t want, Search search) const;
  Result<VirtAddr> take(std::uint64_t block, std::size_t want, std::size_t align);
  Error grow_in_place(std::uint64_t block, std::uint32_t info, std::size_t want);
  void choose_window();

  Error fault(Error error, std::uint64_t address, std::uint64_t place);
  Error refuse(VirtAddr payload);
  Error diagnose(std::uint64_t payload, std::uint64_t& place) const;

  struct Census;
  bool range_valid(const HeapRange& range, Census& found) const;
  bool lists_valid(Census& found) const;

  HeapKey key_;
  // Where the blocks of the largest range lie, for the common question; no granules when there is none.
  std::uint64_t window_first_ = 0;
  std::uint64_t window_granules_ = 0;
  HeapState state_;
};

template <typename Body>
void BlockHeap::for_each_used(Body&& body) const {
  for (std::uint64_t n = 0; n < state_.range_count; ++n) {
    const std::uint64_t end = state_.ranges[n].end - HeapBlock::kHeaderBytes;
    std::uint64_t block = state_.ranges[n].first + HeapBlock::kHeaderBytes;
    while (block < end) {
      std::uint64_t plain = 0;
      const bool used = key_.decode(at(block).header, block, Kind::used, plain);
      if (!used && !key_.decode(at(block).header, block, Kind::free, plain)) break;
      const std::uint64_t bytes = HeapKey::info(plain) & ~HeapBlock::kFlags;
      if (bytes < HeapBlock::kSmallest || bytes > end - block) break;
      if (used) body(VirtRange{VirtAddr{block + HeapBlock::kHeaderBytes}, VirtAddr{block + bytes}});
      block += bytes;
    }
  }
}

}  // namespace memory
