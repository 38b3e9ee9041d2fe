// SPDX-License-Identifier: MIT
#include "mm/virtual/direct_map_hider.hpp"

#include "mm/base/check.hpp"
#include "mm/virtual/kernel_space.hpp"
#include "mm/virtual/table_cursor.hpp"

namespace memory {

namespace {

// Above that many pages a whole flush is cheaper than one by one.
constexpr std::uint32_t kFlushedOneByOne = 32;

VirtAddr direct(FrameNumber frame) { return kernel_space::kDirectMap + address_of(frame).value; }

}  // namespace

// Calls body(frame, entry), which says by how many entries it changed the table; how many it was called for.
template <typename Body>
std::uint32_t DirectMapHider::for_each_entry(FrameNumber first, Order order, Body&& body) const {
  TableCursor cursor(frames_, root_);
  std::uint32_t met = 0;
  for (FrameNumber frame = first; frame < first + frames_in(order); ++frame) {
    if (!frames_.in_direct_map(frame)) break;
    cursor.seek(direct(frame), PageLevel::page);
    CHECK(cursor.level() == PageLevel::page);
    const std::int64_t change = body(frame, cursor.entry());
    cursor.frame().uses.fetch_add(static_cast<std::uint64_t>(change) * Frame::kMapping,
                                  std::memory_order_relaxed);
    ++met;
  }
  return met;
}

void DirectMapHider::hide(FrameNumber first, Order order) {
  const bool one_by_one = frames_in(order) <= kFlushedOneByOne;
  const std::uint32_t met = for_each_entry(first, order, [&](FrameNumber frame, AtomicEntry& entry) {
    if (!entry.exchange(PageEntry{}).present()) return 0;
    if (one_by_one) platform::flush_page(SpaceId::kernel, direct(frame));
    return -1;
  });
  if (met != 0 && !one_by_one) platform::flush_space(SpaceId::kernel);
}

// What was absent is not remembered: nothing to flush.
void DirectMapHider::show(FrameNumber first, Order order) {
  for_each_entry(first, order, [](FrameNumber frame, AtomicEntry& entry) {
    if (entry.load().present()) return 0;
    entry.set(PageEntry::leaf(address_of(frame), PageLevel::page, Access::read_write));
    return 1;
  });
}

}  // namespace memory
