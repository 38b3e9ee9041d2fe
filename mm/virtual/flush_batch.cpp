// FlushBatch: flushes here, then on the other CPUs, then gives back.
// SPDX-License-Identifier: MIT
//
// Theory. A CPU may use what it remembers of an entry until it is told to forget it; also what it remembers of a table,
// after the entry that pointed to it is gone. So a frame, mapped or a table, goes back only when every CPU that may
// remember it has acknowledged. Which CPUs may: PageTables::enter() adds itself to the mask and then loads the root; a
// change is written and then the mask is read here. All four are sequentially consistent, so either this reader finds the
// CPU in the mask, or the CPU's walks find the entry as it was changed.
#include "mm/virtual/flush_batch.hpp"

#include "mm/base/sync.hpp"
#include "mm/virtual/page_table.hpp"

namespace memory {

void FlushBatch::drop(FrameNumber number, Order order) {
  Frame& frame = tables_.physical().frames()[number];
  DCHECK(frame.is(FrameState::allocated, order));
  (void)order;  // the Frame knows it
  frame.next = raw(first_dropped_);
  first_dropped_ = number;
  ++dropped_;
}

void FlushBatch::flush() {
  if constexpr (config::debug) {
    CHECK(platform::held_spin().depth ==
          0);  // whoever waits for the lock with interrupts off would never answer
    CHECK(interrupts_are_on());
  }
  if (count_ > 0) forget_pages();
  if (dropped_ > 0) release_dropped();
}

void FlushBatch::forget_pages() {
  std::span<const VirtAddr> pages(pages_.data(), count_);
  if (count_ > kMostPages) pages = {};
  count_ = 0;
  const SpaceId space = tables_.space();
  const PreemptionOff stay;  // on this CPU, which is left out of the others
  const std::uint64_t cpus = tables_.cpus();
  const std::uint64_t here = std::uint64_t{1} << platform::percpu().number;
  if ((cpus & here) != 0) {
    for (const VirtAddr page : pages) platform::flush_page(space, page);
    if (pages.empty()) platform::flush_space(space);
  }
  if ((cpus & ~here) != 0) platform::flush_others(space, pages, cpus & ~here);
}

void FlushBatch::release_dropped() {
  Physical& physical = tables_.physical();
  while (first_dropped_ != kNoFrame) {
    const FrameNumber number = first_dropped_;
    Frame& frame = physical.frames()[number];
    first_dropped_ = FrameNumber{frame.next};
    frame.next = 0;
    CHECK(physical.release(number, frame.order()).ok());
  }
  dropped_ = 0;
}

}  // namespace memory
