// ListBuddy: the textbook buddy allocator with a list of free blocks for each order, as a peer to measure against.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace bench {

inline constexpr std::uint32_t kNone = 0xffff'ffff;
inline constexpr unsigned kOrders = 12;

// Written as well as we can: a bit for each non-empty order, merging by exclusive-or, double frees and wrong orders
// stop the program. Records are apart from the frames, 12 bytes each.
class ListBuddy {
 public:
  static constexpr const char* kName = "list buddy";
  static constexpr double kBytesPerFrame = 9;  // two links, and a byte for state and order

  explicit ListBuddy(std::uint32_t frames) : records_(frames), end_(frames) {
    heads_.fill(kNone);
    for (std::uint32_t at = 0; at < frames; at += 1u << (kOrders - 1)) push(at, kOrders - 1);
    free_ = frames;
  }

  std::uint32_t allocate(unsigned wanted) {
    const unsigned fitting = nonempty_ >> wanted;
    if (fitting == 0) [[unlikely]]
      return kNone;
    unsigned order = wanted + static_cast<unsigned>(std::countr_zero(fitting));
    const std::uint32_t number = heads_[order];
    unlink(number, order);
    while (order > wanted) {
      --order;
      push(number + (1u << order), order);
    }
    records_[number].state = static_cast<std::uint8_t>(kAllocated | wanted);
    free_ -= 1u << wanted;
    return number;
  }

  void release(std::uint32_t number, unsigned order) {
    if (number >= end_ || records_[number].state != (kAllocated | order)) [[unlikely]]
      std::abort();
    free_ += 1u << order;
    for (; order < kOrders - 1; ++order) {
      const std::uint32_t buddy = number ^ 1u << order;
      if (buddy >= end_ || records_[buddy].state != (kFree | order)) break;
      unlink(buddy, order);
      records_[number].state = 0;
      records_[buddy].state = 0;
      number &= ~(1u << order);
    }
    push(number, order);
  }

  std::uint32_t free_frames() const { return free_; }
  std::uint32_t free_large_blocks() const {  // 2 MiB each
    std::uint32_t blocks = 0;
    for (unsigned order = 9; order < kOrders; ++order)
      for (std::uint32_t at = heads_[order]; at != kNone; at = records_[at].next) blocks += 1u << (order - 9);
    return blocks;
  }

 private:
  static constexpr std::uint8_t kFree = 0x40;
  static constexpr std::uint8_t kAllocated = 0x80;
  struct Record {
    std::uint32_t prev;
    std::uint32_t next;
    std::uint8_t state;
  };

  void push(std::uint32_t number, unsigned order) {
    const std::uint32_t next = heads_[order];
    records_[number] = {kNone, next, static_cast<std::uint8_t>(kFree | order)};
    if (next != kNone) records_[next].prev = number;
    heads_[order] = number;
    nonempty_ |= 1u << order;
  }
  void unlink(std::uint32_t number, unsigned order) {
    const Record record = records_[number];
    if (record.prev != kNone) {
      records_[record.prev].next = record.next;
    } else {
      heads_[order] = record.next;
      if (record.next == kNone) nonempty_ &= ~(1u << order);
    }
    if (record.next != kNone) records_[record.next].prev = record.prev;
  }

  std::vector<Record> records_;
  std::uint32_t end_;
  std::uint32_t free_ = 0;
  unsigned nonempty_ = 0;
  std::array<std::uint32_t, kOrders> heads_;
};

// The same with a list of 64 frames of this CPU in front for order 0, filled and emptied by 32.
class CachedListBuddy {
 public:
  static constexpr const char* kName = "list buddy + CPU list";
  static constexpr double kBytesPerFrame = ListBuddy::kBytesPerFrame;

  explicit CachedListBuddy(std::uint32_t frames) : buddy_(frames) {}

  std::uint32_t allocate(unsigned order) {
    if (order != 0) return buddy_.allocate(order);
    if (count_ == 0) [[unlikely]] {
      while (count_ < kBatch && (cached_[count_] = buddy_.allocate(0)) != kNone) ++count_;
      if (count_ == 0) return kNone;
    }
    return cached_[--count_];
  }
  void release(std::uint32_t number, unsigned order) {
    if (order != 0) return buddy_.release(number, order);
    if (count_ == cached_.size()) [[unlikely]]
      while (count_ > kBatch) buddy_.release(cached_[--count_], 0);
    cached_[count_++] = number;
  }

  std::uint32_t free_frames() const { return buddy_.free_frames() + count_; }
  std::uint32_t free_large_blocks() const { return buddy_.free_large_blocks(); }

 private:
  static constexpr unsigned kBatch = 32;
  ListBuddy buddy_;
  std::array<std::uint32_t, 64> cached_{};
  unsigned count_ = 0;
};

}  // namespace bench
