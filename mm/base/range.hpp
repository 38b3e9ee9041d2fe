// Range<T>: half-open [first, end) of addresses or frame numbers that cannot be mixed up and do not wrap.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>
#include <type_traits>

#include "mm/base/result.hpp"
#include "mm/base/types.hpp"

namespace memory {

namespace range_detail {

template <typename Tag>
constexpr std::uint64_t number(Address<Tag> address) {
  return address.value;
}
constexpr std::uint64_t number(FrameNumber frame) { return raw(frame); }

// The largest end that a range can have. The very last address (frame) of its space is in no range.
template <typename T>
inline constexpr std::uint64_t kLastEnd = ~std::uint64_t{0};
template <>
inline constexpr std::uint64_t kLastEnd<FrameNumber> = raw(kNoFrame);

}  // namespace range_detail

// T is PhysAddr, VirtAddr or FrameNumber; counts are bytes or frames accordingly. Empty when first == end;
// never first > end: who writes {first, end} knows it, who does not asks create() or between(). An
// empty range overlaps nothing.
template <typename T>
struct Range {
  T first{};
  T end{};

  // Fail with invalid: create() when first + count leaves the space, between() when end < first.
  static constexpr Result<Range> create(T first, std::uint64_t count) {
    if (count > range_detail::kLastEnd<T> - range_detail::number(first)) return Error::invalid;
    return Range{first, first + count};
  }
  static constexpr Result<Range> between(T first, T end) {
    if (end < first) return Error::invalid;
    return Range{first, end};
  }

  constexpr bool operator==(const Range&) const = default;
  constexpr std::uint64_t count() const { return end - first; }
  constexpr bool empty() const { return first == end; }
  constexpr std::uint64_t bytes() const
    requires(!std::is_same_v<T, FrameNumber>)
  {
    return count();
  }
  constexpr std::uint64_t frames() const
    requires std::is_same_v<T, FrameNumber>
  {
    return count();
  }

  constexpr bool contains(T at) const { return first <= at && at < end; }
  constexpr bool contains(Range other) const {  // its ends too, so an empty range lies somewhere
    return first <= other.first && other.end <= end;
  }
  constexpr bool overlaps(Range other) const {
    return !empty() && !other.empty() && first < other.end && other.first < end;
  }
  constexpr bool touches(Range other) const { return end == other.first || other.end == first; }

  // What both hold; where they share nothing an empty range inside *this.
  constexpr Range intersect(Range other) const {
    const T low = first < other.first ? other.first : first;
    const T high = other.end < end ? other.end : end;
    return low < high ? Range{low, high} : Range{first, first};
  }

  // What is left of *this without `other`; each part may be empty.
  struct Parts;
  constexpr Parts subtract(Range other) const;

  // The smallest range that holds both.
  constexpr Range hull(Range other) const {
    if (empty()) return other;
    if (other.empty()) return *this;
    return {first < other.first ? first : other.first, end < other.end ? other.end : end};
  }
};

template <typename T>
struct Range<T>::Parts {
  Range below;
  Range above;
  constexpr bool operator==(const Parts&) const = default;
};

template <typename T>
constexpr typename Range<T>::Parts Range<T>::subtract(Range other) const {
  if (!overlaps(other)) return {*this, {end, end}};
  const Range cut = intersect(other);
  return {{first, cut.first}, {cut.end, end}};
}

using PhysRange = Range<PhysAddr>;
using VirtRange = Range<VirtAddr>;
using FrameRange = Range<FrameNumber>;

// The whole frames inside a range of bytes (its ends move inwards), and the bytes of a range of frames.
// Frames that 32 bits cannot number (from 16 TiB on) are left out.
constexpr FrameRange whole_frames(PhysRange range) {
  constexpr std::uint64_t kEnd = std::uint64_t{raw(kNoFrame)} << kPageShift;
  const std::uint64_t end = range.end.value < kEnd ? range.end.value : kEnd;
  if (range.first.value >= end) return {};
  const FrameNumber first = frame_at(range.first.aligned_up(kPageSize));
  const FrameNumber last = frame_at(PhysAddr{end});
  return first < last ? FrameRange{first, last} : FrameRange{first, first};
}
constexpr PhysRange bytes_of(FrameRange range) { return {address_of(range.first), address_of(range.end)}; }

}  // namespace memory
