// TableStock, and what a table's Frame says.
// SPDX-License-Identifier: MIT
#include "mm/virtual/table_cursor.hpp"

#include "mm/base/platform.hpp"

namespace memory {

Result<void> TableStock::add(std::size_t tables) {
  for (; tables > 0; --tables) {
    const FrameNumber table = TRY(physical_.allocate(Order{0}));
    platform::clear_page(physical_.frames().open(table).bytes());
    physical_.frames()[table].next = raw(first_);
    first_ = table;
  }
  return {};
}

FrameNumber TableStock::take() {
  const FrameNumber table = first_;
  CHECK(table != kNoFrame);
  Frame& frame = physical_.frames()[table];
  first_ = FrameNumber{frame.next};
  frame.next = 0;
  return table;
}

TableStock::~TableStock() {
  while (first_ != kNoFrame) CHECK(physical_.release(take(), Order{0}).ok());
}

void mark_table(Frame& frame, PageLevel level, PageRoot root, std::uint32_t live) {
  frame.tag.store(static_cast<std::uint8_t>(FrameTag::page_table), std::memory_order_relaxed);
  frame.index = raw(level);
  frame.owner.store(root.table.value, std::memory_order_relaxed);
  set_live(frame, live);
}

void unmark_table(Frame& frame) {
  frame.tag.store(static_cast<std::uint8_t>(FrameTag::none), std::memory_order_relaxed);
  frame.index = 0;
  frame.owner.store(0, std::memory_order_relaxed);
}

bool is_table(const Frame& frame, PageLevel level, PageRoot root) {
  return frame.tag == static_cast<std::uint8_t>(FrameTag::page_table) && frame.index == raw(level) &&
         frame.owner == root.table.value;
}

}  // namespace memory
