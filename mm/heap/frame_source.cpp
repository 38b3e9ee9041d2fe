// FrameSource: a range is a block, a block is a range.
// SPDX-License-Identifier: MIT
#include "mm/heap/frame_source.hpp"

#include <bit>

namespace memory {

namespace {

// Says of every frame of the block whose it is; two references, so that nobody releases it as a block of frames.
void mark(Frame* head, Order order, FrameTag tag, std::uint32_t references) {
  for (std::uint32_t n = 0; n < frames_in(order); ++n)
    head[n].tag.store(static_cast<std::uint8_t>(tag), std::memory_order_relaxed);
  head->uses.store(Frame::uses_of(references, 0), std::memory_order_relaxed);
}

}  // namespace

Result<VirtRange> FrameSource::grow(VirtRange range, std::size_t pages) {
  if (!range.empty() || pages > frames_in(Order{config::max_order})) return Error::no_memory;
  const Order order{static_cast<std::uint8_t>(std::bit_width(pages - 1))};
  const FrameNumber number = TRY(physical_.allocate(order));
  mark(&physical_.frames()[number], order, FrameTag::heap_range, 2);
  const VirtAddr first{reinterpret_cast<std::uint64_t>(physical_.frames().open(number).bytes())};
  return VirtRange{first, first + bytes_in(order)};
}

std::size_t FrameSource::shrink(VirtRange range, std::size_t pages) {
  if (pages * kPageSize != range.bytes()) return 0;
  const auto direct_map = reinterpret_cast<std::uint64_t>(physical_.frames().map().direct_map);
  const FrameNumber number = frame_at(PhysAddr{range.first.value - direct_map});
  const Order order{static_cast<std::uint8_t>(std::bit_width(pages) - 1)};
  mark(&physical_.frames()[number], order, FrameTag::none, 1);
  CHECK(physical_.release(number, order).ok());
  return pages;
}

}  // namespace memory
