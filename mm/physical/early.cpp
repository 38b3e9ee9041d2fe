// EarlyAllocator: available memory less what is reserved, handed out from the low end of each range.
// SPDX-License-Identifier: MIT
#include "mm/physical/early.hpp"

#include <algorithm>

namespace memory {

EarlyAllocator::EarlyAllocator(const BootInfo& info, PhysAddr reach) : reach_(reach) {
  for (std::size_t n = 0; n < info.memory_ranges; ++n) {
    if (info.memory[n].kind != MemoryKind::available) continue;
    PhysRange left = info.memory[n].range;
    for (std::size_t r = 0; r < info.reserved_ranges; ++r) {  // both tables ascend
      const PhysRange reserved = info.reserved[r];
      if (!reserved.overlaps(left)) continue;
      add({left.first, std::max(left.first, reserved.first)});
      left.first = std::min(left.end, reserved.end);
    }
    add(left);
  }
}

void EarlyAllocator::add(PhysRange range) {
  if (range.empty()) return;
  if (range.first < kPreferred && kPreferred < range.end) {
    add({range.first, kPreferred});
    add({kPreferred, range.end});
  } else if (count_ < free_.size()) {
    free_[count_++] = range;
  } else {
    ++dropped_;
  }
}

Result<PhysAddr> EarlyAllocator::allocate(std::size_t frames) {
  CHECK(!handed_over_);
  const auto preferred = take(frames, kPreferred, reach_);
  return preferred.ok() ? preferred : take(frames, PhysAddr{0}, reach_);
}

Result<PhysAddr> EarlyAllocator::take(std::size_t frames, PhysAddr from, PhysAddr to) {
  for (std::size_t n = 0; n < count_; ++n) {
    PhysRange& range = free_[n];
    if (range.first < from || range.bytes() / kPageSize < frames) continue;
    const std::uint64_t bytes = frames * kPageSize;
    if (range.first + bytes > to) continue;
    const PhysAddr taken = range.first;
    range.first += bytes;
    allocated_frames_ += frames;
    return taken;
  }
  return Error::no_memory;
}

std::uint64_t EarlyAllocator::free_bytes() const {
  std::uint64_t bytes = 0;
  for (std::size_t n = 0; n < count_; ++n) bytes += free_[n].bytes();
  return bytes;
}

}  // namespace memory
