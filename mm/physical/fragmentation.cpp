// Fragmentation: the two indices.
// SPDX-License-Identifier: MIT
#include "mm/physical/fragmentation.hpp"

namespace memory {

std::uint64_t frames_in(const FreeBlocks& blocks) {
  std::uint64_t frames = 0;
  for (unsigned order = 0; order < blocks.size(); ++order) frames += blocks[order] << order;
  return frames;
}

std::optional<unsigned> largest_order(const FreeBlocks& blocks) {
  for (unsigned order = config::max_order + 1; order-- > 0;)
    if (blocks[order] > 0) return order;
  return std::nullopt;
}

unsigned unusable_index(const FreeBlocks& blocks, unsigned order) {
  const std::uint64_t free = frames_in(blocks);
  if (free == 0) return 1000;
  std::uint64_t usable = 0;
  for (unsigned n = order; n < blocks.size(); ++n) usable += blocks[n] << n;
  return static_cast<unsigned>((free - usable) * 1000 / free);
}

// 1 - (1 + free / requested) / number of blocks: the more blocks make up the same memory, the nearer to 1.
std::optional<unsigned> external_index(const FreeBlocks& blocks, unsigned order) {
  std::uint64_t count = 0;
  for (unsigned n = 0; n < blocks.size(); ++n) {
    if (n >= order && blocks[n] > 0) return std::nullopt;
    count += blocks[n];
  }
  if (count == 0) return 0;
  const std::uint64_t share = (1000 + (frames_in(blocks) * 1000 >> order)) / count;
  return static_cast<unsigned>(share < 1000 ? 1000 - share : 0);
}

}  // namespace memory
