// Buddy: hands out naturally aligned blocks of 2^order frames, orders 0-11, the fullest pageblock first.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>

#include "mm/base/config.hpp"
#include "mm/base/result.hpp"
#include "mm/physical/frames.hpp"
#include "mm/physical/pageblock.hpp"

namespace memory {

inline constexpr Order kMaxOrder{config::max_order};

// Lists of pageblocks and the levels; the theory is in buddy.cpp. Standard layout for outside readers.
struct BuddyLists {
  static constexpr unsigned kFullnesses = 7;
  static constexpr unsigned kPartialOrders = Pageblock::kWholeOrder;  // largest free block 0 .. 8
  static constexpr unsigned kPartial = kFullnesses * kPartialOrders;
  static constexpr unsigned kWhole = config::max_order - Pageblock::kWholeOrder + 1;
  static_assert(kPartial == 63 && kWhole >= 1, "one word names the partial lists");

  std::uint64_t nonempty = 0;  // bit n: partial list n has a pageblock
  std::uint64_t free_frames = 0;
  std::uint64_t managed_frames = 0;
  std::array<std::uint32_t, kPartial + kWhole> heads = empty();  // pageblock numbers, or kNone
  // Exact, where the counters of the same names only report: an outside reader compares the two.
  std::uint64_t failures = 0;
  std::uint64_t misuses = 0;
  std::uint64_t poisoned_frames = 0;

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

  // Returns the first frame of a block: state allocated, its order, references 1.
  // Fails with no_memory when no block that large is free, invalid when order > kMaxOrder. Its contents are
  // what they were; with config::poison_frames it panics when a freed frame was written to.
  Result<Frame*> allocate(Order order) {
    return raw(order) < Pageblock::kWholeOrder ? allocate_part(order) : allocate_run(order);
  }

  // Takes a block back. Fails with the misuse error that fits, and nothing changed, when `number` is not the
  // first frame of an allocated block of that order. Panics when the bits and the Frame contradict each
  // other.
  Result<void> release(FrameNumber number, Order order) {
    return raw(order) < Pageblock::kWholeOrder ? release_part(number, order) : release_run(number, order);
  }

  // Gives the allocator every frame of [first, first + frames), which are present and `reserved`. Counts no
  // traffic.
  void donate(FrameNumber first, std::size_t frames);

  std::uint64_t free_frames() const { return lists_.free_frames; }
  std::uint64_t managed_frames() const { return lists_.managed_frames; }

  // Free blocks of each order. Exact; walks the partly free pageblocks.
  std::array<std::uint64_t, config::max_order + 1> free_blocks() const;

  // Proves the invariants in buddy.cpp. O(frames); for tests and `validate`.
  bool valid() const;

  // For outside readers.
  const BuddyLists& lists() const { return lists_; }

 private:
  static constexpr unsigned kPartialLists = BuddyLists::kPartial;
  static constexpr unsigned kLists = BuddyLists::kPartial + BuddyLists::kWhole;

  Result<Frame*> allocate_part(Order order);
  Result<Frame*> allocate_run(Order order);
  std::uint32_t cut_run(unsigned order);
  std::uint32_t fresh_block();
  Frame& hand_out(FrameNumber number, Order order);
  Error no_memory();

  Result<void> release_part(FrameNumber first, Order order);
  Result<void> release_run(FrameNumber first, Order order);
  unsigned whole_again(Pageblock& block, std::uint32_t number);
  bool is_allocated(FrameNumber number, Order order) const;
  void take_back(FrameNumber number, Order order);
  Error refuse(FrameNumber number, Order order);
  Error misuse_of(FrameNumber number, Order order) const;

  void verify_poison(FrameNumber number, Order order);
  void poison(FrameNumber number, Order order);

  static unsigned list_for(const Pageblock& block);
  void relist(Pageblock& block, std::uint32_t number);
  void move(Pageblock& block, std::uint32_t number, unsigned list);
  bool linked(std::uint32_t number, unsigned list) const;
  void attach(Pageblock& block, std::uint32_t number, unsigned list);
  void detach(Pageblock& block, std::uint32_t number, unsigned list);
  void attach_run(std::uint32_t number, unsigned order);
  unsigned merge_run(std::uint32_t number, unsigned order);
  bool list_valid(unsigned list, std::uint64_t& frames) const;
  static bool listing_valid(const Pageblock& block);
  bool frames_valid(std::uint32_t number, std::uint64_t& managed) const;

  FrameTable& frames_;
  BuddyLists lists_;
};

}  // namespace memory
