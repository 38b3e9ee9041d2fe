// Arena: pages for heaps under test, from storage of the test's own.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/heap/kernel_heap.hpp"
#include "tests/unit/world.hpp"

namespace unit {

// Checks what a heap asks of a PageSource. First fit; a new range leaves a page free before it, so ranges never touch.
class Arena final : public memory::PageSource {
 public:
  static constexpr std::size_t kPages = 1024;

  // Whether ranges can become longer and shorter, or only come and go.
  enum class Ranges : std::uint8_t { elastic, rigid };

  explicit Arena(Ranges ranges = Ranges::elastic)
      : ranges_(ranges), room_(storage(kPages * memory::kPageSize)) {}
  bool ok() const { return !room_.empty(); }

  // No more than that many pages are given at once from now on.
  void limit(std::size_t pages) { limit_ = pages; }
  std::size_t held() const { return held_; }
  std::uint64_t first() const { return reinterpret_cast<std::uint64_t>(room_.data()); }
  std::uint64_t end() const { return first() + room_.size(); }

  memory::Result<memory::VirtRange> grow(memory::VirtRange range, std::size_t pages) override {
    CHECK(pages != 0);
    if (pages > limit_ - held_ || held_ > limit_) return memory::Error::no_memory;
    if (!range.empty()) {
      CHECK(owns(range));
      if (ranges_ == Ranges::rigid || !is_free(page_of(range.end), pages)) return memory::Error::no_memory;
      take(page_of(range.end), pages);
      return memory::VirtRange{range.first, range.end + pages * memory::kPageSize};
    }
    for (std::size_t page = 1; page + pages <= kPages; ++page)
      if (!used_[page - 1] && is_free(page, pages)) {
        take(page, pages);
        const memory::VirtAddr start{first() + page * memory::kPageSize};
        return memory::VirtRange{start, start + pages * memory::kPageSize};
      }
    return memory::Error::no_memory;
  }

  std::size_t shrink(memory::VirtRange range, std::size_t pages) override {
    CHECK(owns(range) && pages != 0 && pages * memory::kPageSize <= range.bytes());
    if (ranges_ == Ranges::rigid && pages * memory::kPageSize != range.bytes()) return 0;
    const std::size_t from = page_of(range.end) - pages;
    for (std::size_t page = from; page < from + pages; ++page) used_[page] = false;
    held_ -= pages;
    // Whoever uses them all the same is found.
    auto* const bytes = room_.data() + from * memory::kPageSize;
    for (std::size_t at = 0; at < pages * memory::kPageSize; ++at) bytes[at] = std::byte{0xdd};
    return pages;
  }

 private:
  std::size_t page_of(memory::VirtAddr address) const {
    return (address.value - first()) / memory::kPageSize;
  }
  bool is_free(std::size_t page, std::size_t pages) const {
    for (std::size_t n = page; n < page + pages; ++n)
      if (n >= kPages || used_[n]) return false;
    return true;
  }
  bool owns(memory::VirtRange range) const {
    if (range.first.value < first() || range.end.value > end()) return false;
    for (std::size_t page = page_of(range.first); page < page_of(range.end); ++page)
      if (!used_[page]) return false;
    return true;
  }
  void take(std::size_t page, std::size_t pages) {
    for (std::size_t n = page; n < page + pages; ++n) used_[n] = true;
    held_ += pages;
  }

  Ranges ranges_;
  std::span<std::byte> room_;
  std::array<bool, kPages> used_{};
  std::size_t held_ = 0;
  std::size_t limit_ = kPages;
};

// An arena, and a heap over it.
struct HeapWorld {
  static constexpr std::uint64_t kSecret = 0x5ec2'e700'1234'abcd;

  explicit HeapWorld(Arena::Ranges ranges = Arena::Ranges::elastic)
      : arena(ranges), heap(arena, plan, kSecret) {}

  Arena arena;
  memory::FailPlan plan;
  memory::KernelHeap heap;
};

}  // namespace unit
