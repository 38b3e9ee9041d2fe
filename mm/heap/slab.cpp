// Slab: how a block of frames is cut.
// SPDX-License-Identifier: MIT
//
// Theory. An address must be turned into an object's index on every release, and be told from one that is not the
// start of an object. A division would cost as much as all the rest. The stride is odd * 2^shift; modulo 2^64 an odd
// number has an inverse, so
//
//     index = rotate_right((address - first) * inverse(odd), shift)
//
// is exact for multiples of the stride. For every other address it is larger than any index: a product that is no
// multiple of 2^shift has low bits set, which the rotation puts on top, and the multiples of `odd` below 2^64 are
// exactly those numbers whose product with its inverse is at most (2^64 - 1) / odd (Granlund and Montgomery, "Division
// by invariant integers using multiplication", PLDI 1994, section 9). One multiplication and one comparison therefore
// find interior, misaligned and outlying addresses alike.
#include "mm/heap/slab.hpp"

#include <algorithm>
#include <bit>

#include "mm/base/check.hpp"
#include "mm/heap/object_guard.hpp"

namespace memory {

namespace {

constexpr std::uint32_t kColourStep = 64;  // a cache line

// Newton's iteration doubles the number of right bits; an odd number is its own inverse modulo 8.
constexpr std::uint64_t inverse_of(std::uint64_t odd) {
  std::uint64_t inverse = odd;
  for (unsigned bits = 3; bits < 64; bits *= 2) inverse *= 2 - odd * inverse;
  return inverse;
}
static_assert(inverse_of(3) * 3 == 1 && inverse_of(12345) * 12345 == 1);

constexpr std::uint32_t up(std::uint32_t bytes, std::uint32_t align) {
  return (bytes + align - 1) & ~(align - 1);
}

// Where the first object begins when the record of `objects` objects precedes it.
std::uint32_t first_behind(std::uint32_t objects, std::uint32_t align) {
  return up(static_cast<std::uint32_t>(slab_record_bytes(objects, SlabCut::Records::inside)), align);
}

// Bytes in front of the first object that are its red zone, at the objects' alignment.
std::uint32_t zone_before(std::uint32_t align, SlabCut::Records records) {
  return records == SlabCut::Records::outside ? up(object_guard::kBefore, align) : 0;
}

std::uint32_t objects_in(std::uint32_t bytes, std::uint32_t stride, std::uint32_t align,
                         SlabCut::Records records) {
  std::uint32_t objects = std::min((bytes - zone_before(align, records)) / stride, SlabCut::kMaxObjects);
  if (records == SlabCut::Records::inside)
    while (objects > 0 && first_behind(objects, align) + objects * stride > bytes) --objects;
  return objects;
}

}  // namespace

// The smallest block of which at most an eighth is wasted and that holds a few objects; else the one that wastes least.
Result<SlabCut> SlabCut::of(std::uint32_t object_bytes, std::uint32_t align, Records records) {
  constexpr std::uint32_t kFew = 8;
  const std::uint32_t zones = records == Records::outside ? object_guard::kBefore + object_guard::kBehind : 0;
  const std::uint32_t stride = std::max(up(object_bytes + zones, align), kMinStride);
  SlabCut best;
  std::uint32_t best_share = ~0u;  // wasted, in 1024ths
  for (std::uint8_t order = 0; order <= kMaxOrder; ++order) {
    const auto bytes = static_cast<std::uint32_t>(kPageSize << order);
    const std::uint32_t objects = objects_in(bytes, stride, align, records);
    if (objects == 0) continue;
    const std::uint32_t wasted = bytes - objects * stride;
    const std::uint32_t share = (wasted >> order) / 4;
    if (share >= best_share) continue;
    best_share = share;
    best.order = order;
    best.objects = objects;
    best.first = records == Records::inside ? first_behind(objects, align) : zone_before(align, records);
    if (objects >= kFew && share <= 128) break;
  }
  if (best.objects == 0) return Error::too_big;
  best.stride = stride;
  best.shift = static_cast<std::uint8_t>(std::countr_zero(stride));
  best.inverse = inverse_of(stride >> best.shift);
  best.colour_step = std::max(align, kColourStep);
  const std::uint32_t left =
      static_cast<std::uint32_t>(kPageSize << best.order) - best.first - best.objects * stride;
  best.colours = left / best.colour_step + 1;
  return best;
}

}  // namespace memory
