// Buddy: hands out naturally aligned blocks of 2^order frames, orders 0-11, the fullest pageblock first.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <span>

#include "mm/base/config.hpp"
#include "mm/base/result.hpp"
#include "mm/physical/frames.hpp"
#include "mm/physical/pageblock.hpp"

namespace memory {

inline constexpr Order kMaxOrder{config::max_order};

// Lists of pageblocks and the levels; the theory is in buddy.cpp. Standard layout for outside readers.
struct BuddyLists {
  static constexpr unsigned kFullnesses = 6;
  static constexpr unsigned kPartialOrders =
      Pageblock::kWholeOrder + 1;  // largest free block 0 .. 8, 9: uncounted
  static constexpr unsigned kPartial = kFullnesses * kPartialOrders;
  static constexpr unsigned kWhole = config::max_order - Pageblock::kWholeOrder + 1;
  static_assert(kPartial <= 64 && kWhole >= 1, "one word names the partial lists");

  std::uint64_t nonempty = 0;  // bit n: partial list n has a pageblock
  std::uint64_t free_frames = 0;
  std::uint64_t managed_frames = 0;
  std::array<std::uint32_t, kPartial + kWhole> heads = empty();  // pageblock numbers, or kNone
  std::uint32_t unused = 0;

 private:
  static constexpr std::array<std::uint32_t, kPartial + kWhole> empty() {
    std::array<std::uint32_t, kPartial + kWhole> heads{};
    heads.fill(Pageblock::kNone);
    return heads;
  }
};

// Owns no memory and takes no lock; Zone wraps it in Guarded. The theory is in buddy.cpp.
class Buddy {
 public:
  explicit Buddy(FrameTable& frames) : frames_(frames) {}

  // Takes a block out: its first frame, in state `cached` with that order. Fails with no_memory when no block that
  // large is free. Precondition: order <= kMaxOrder.
  Result<FrameNumber> take(Order order) {
    return raw(order) < Pageblock::kWholeOrder ? take_part(order) : take_run(order);
  }

  // Brings a block back. Panics when it is not `cached` with that order, or when the bits contradict that.
  void give(FrameNumber number, Order order) {
    raw(order) < Pageblock::kWholeOrder ? give_part(number, order) : give_run(number, order);
  }

  // As take(), for up to blocks.size() blocks at once, from as few pageblocks as can be; how many it were. Frame
  // numbers, first frames.
  std::size_t take_many(Order order, std::span<std::uint32_t> blocks);

  // As give(), for many. Single frames do not merge at once, if their pageblock does not become whole.
  void give_many(Order order, std::span<const std::uint32_t> blocks);

  // Merges what give_many() and take_many() left as single frames. Counters then tell of it; free_blocks() always does.
  void count_all();

  // Why a release of `number` with that order breaks its contract. Precondition: it does, and the frame lies in this
  // allocator's memory.
  Error misuse_of(FrameNumber number, Order order) const;

  // Widens the memory that this allocator may get to the pageblocks [first, end); whole blocks of the largest order.
  void cover(std::uint32_t first_block, std::uint32_t end_block);

  // Gives the allocator every frame of [first, first + frames), which are present, `reserved` and covered. Counts no
  // traffic.
  void donate(FrameNumber first, std::size_t frames);

  std::uint64_t free_frames() const { return lists_.free_frames; }
  std::uint64_t managed_frames() const { return lists_.managed_frames; }

  // Free blocks of each order. Exact; walks the partly free pageblocks.
  std::array<std::uint64_t, config::max_order + 1> free_blocks() const;

  // Proves the invariants in buddy.cpp. Precondition: nobody allocates, because blocks that are out change without the
  // lock. O(frames).
  bool valid() const;

  // For outside readers.
  const BuddyLists& lists() const { return lists_; }

 private:
  static constexpr unsigned kPartialLists = BuddyLists::kPartial;
  static constexpr unsigned kLists = BuddyLists::kPartial + BuddyLists::kWhole;

  Result<FrameNumber> take_part(Order order);
  Result<FrameNumber> take_run(Order order);
  std::size_t take_singles(std::span<std::uint32_t> blocks);
  std::uint32_t cut_run(unsigned order);
  std::uint32_t fresh_block();
  static void leaves(Frame& frame, Order order);
  static void returns(Frame& frame, Order order);
  void count_free(std::int64_t frames);

  void give_part(FrameNumber first, Order order);
  void give_run(FrameNumber first, Order order);
  void give_singles(std::span<const std::uint32_t> blocks);
  unsigned give_single_slowly(Pageblock& block, std::uint32_t number, unsigned position);
  void stop_counting(Pageblock& block);
  void count(Pageblock& block, std::uint32_t number);
  std::uint32_t block_for(Order order);
  unsigned settle(Pageblock& block, std::uint32_t number);
  unsigned whole_again(Pageblock& block, std::uint32_t number);

  static unsigned list_for(const Pageblock& block);
  void relist(Pageblock& block, std::uint32_t number);
  void move(Pageblock& block, std::uint32_t number, unsigned list);
  bool linked(std::uint32_t number, unsigned list) const;
  void attach(Pageblock& block, std::uint32_t number, unsigned list);
  void detach(Pageblock& block, std::uint32_t number, unsigned list);
  void attach_run(std::uint32_t number, unsigned order);
  unsigned merge_run(std::uint32_t number, unsigned order);
  bool covers(std::uint32_t block) const { return block - first_block_ < end_block_ - first_block_; }
  bool holds(std::uint32_t block) const { return covers(block) && frames_.block_present(block); }
  bool list_valid(unsigned list, std::uint64_t& frames) const;
  static bool listing_valid(const Pageblock& block);
  bool frames_valid(std::uint32_t number, std::uint64_t& managed) const;

  FrameTable& frames_;
  BuddyLists lists_;
  std::uint32_t first_block_ = ~0u;
  std::uint32_t end_block_ = 0;
};

}  // namespace memory
