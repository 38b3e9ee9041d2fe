// KMap: a page for a frame, and back.
// SPDX-License-Identifier: MIT
#include "mm/virtual/kmap.hpp"

#include "mm/base/bits.hpp"
#include "mm/base/check.hpp"
#include "mm/virtual/kernel_space.hpp"

namespace memory {

namespace {

using kernel_space::kWindows;

constexpr unsigned kFirst = index_at(PageLevel::page, kWindows);
static_assert(kFirst + config::max_cpus * FrameWindows::kMost <
              index_at(PageLevel::page, kernel_space::kSlot));
static_assert((kWindows.value ^ kernel_space::kSlot.value) >> shift_at(PageLevel::two_mib) == 0, "one table");

}  // namespace

KMap::KMap(const FrameTable& frames, PageRoot root) {
  PhysAddr table = root.table;
  for (PageLevel level = root.top; level != PageLevel::page; level = below(level)) {
    const auto* const entries = reinterpret_cast<const AtomicEntry*>(frames.open(frame_at(table)).bytes());
    table = entries[index_at(level, kWindows)].load().address();
  }
  entries_ = reinterpret_cast<AtomicEntry*>(frames.open(frame_at(table)).bytes());
  table_ = &frames[frame_at(table)];
}

// A handler that interrupts this gives back what it takes, so that nothing changes between load and store.
std::byte* KMap::open(FrameNumber number) {
  platform::preempt_off();
  const unsigned cpu = platform::percpu().number;
  const std::uint8_t used = used_[cpu].load(std::memory_order_relaxed);
  CHECK(used != 0xff);
  const unsigned slot = lowest_bit(~std::uint64_t{used});
  used_[cpu].store(static_cast<std::uint8_t>(used | 1u << slot), std::memory_order_relaxed);
  const unsigned page = cpu * kMost + slot;
  entries_[kFirst + page].set(PageEntry::leaf(address_of(number), PageLevel::page, Access::read_write));
  table_->uses.fetch_add(Frame::kMapping, std::memory_order_relaxed);
  return reinterpret_cast<std::byte*>((kWindows + page * kPageSize).value);
}

void KMap::close(std::byte* bytes) {
  const VirtAddr at{reinterpret_cast<std::uintptr_t>(bytes)};
  const auto page = static_cast<unsigned>((at - kWindows) / kPageSize);
  const unsigned cpu = page / kMost;
  CHECK(cpu == platform::percpu().number);
  entries_[kFirst + page].exchange(PageEntry{});
  platform::flush_page(SpaceId::kernel, at);
  table_->uses.fetch_sub(Frame::kMapping, std::memory_order_relaxed);
  const auto bit = static_cast<std::uint8_t>(1u << page % kMost);
  used_[cpu].store(static_cast<std::uint8_t>(used_[cpu].load(std::memory_order_relaxed) & ~bit),
                   std::memory_order_relaxed);
  platform::preempt_on();
}

}  // namespace memory
