// Addresses that cannot be mixed up: physical, virtual, frame numbers and orders are four types.
// SPDX-License-Identifier: MIT
#pragma once
#include <compare>
#include <cstddef>
#include <cstdint>

namespace memory {

inline constexpr std::size_t kPageShift = 12;
inline constexpr std::size_t kPageSize = std::size_t{1} << kPageShift;

inline constexpr std::uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
inline constexpr std::uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
inline constexpr std::uint64_t operator""_GiB(unsigned long long n) { return n << 30; }

// A byte address in the space that Tag names. Two addresses of one space subtract to a byte count; addresses
// of two spaces do not compare. Arithmetic wraps like uint64_t: ranges check for overflow where they are
// made.
template <typename Tag>
struct Address {
  std::uint64_t value = 0;

  constexpr bool operator==(const Address&) const = default;
  constexpr auto operator<=>(const Address&) const = default;
  // Written out because GCC 12 derives them from <=> in twice the instructions, and trees walk by them.
  constexpr bool operator<(const Address& other) const { return value < other.value; }
  constexpr bool operator>(const Address& other) const { return value > other.value; }
  constexpr bool operator<=(const Address& other) const { return value <= other.value; }
  constexpr bool operator>=(const Address& other) const { return value >= other.value; }
  constexpr Address operator+(std::uint64_t bytes) const { return {value + bytes}; }
  constexpr Address operator-(std::uint64_t bytes) const { return {value - bytes}; }
  constexpr std::uint64_t operator-(Address base) const { return value - base.value; }
  constexpr Address& operator+=(std::uint64_t bytes) {
    value += bytes;
    return *this;
  }

  // `power` is a power of two, in bytes.
  constexpr bool aligned_to(std::uint64_t power) const { return (value & (power - 1)) == 0; }
  constexpr Address aligned_down(std::uint64_t power) const { return {value & ~(power - 1)}; }
  constexpr Address aligned_up(std::uint64_t power) const { return {(value + power - 1) & ~(power - 1)}; }
};

using PhysAddr = Address<struct PhysTag>;
using VirtAddr = Address<struct VirtTag>;

// The number of a 4 KiB frame: its physical address >> 12. 32 bits reach 16 TiB.
enum class FrameNumber : std::uint32_t {};
inline constexpr FrameNumber kNoFrame{0xffff'ffff};

constexpr std::uint32_t raw(FrameNumber frame) { return static_cast<std::uint32_t>(frame); }
constexpr FrameNumber operator+(FrameNumber frame, std::size_t frames) {
  return FrameNumber{static_cast<std::uint32_t>(raw(frame) + frames)};
}
constexpr std::size_t operator-(FrameNumber end, FrameNumber first) { return raw(end) - raw(first); }
constexpr FrameNumber& operator++(FrameNumber& frame) { return frame = frame + 1; }

constexpr PhysAddr address_of(FrameNumber frame) { return {std::uint64_t{raw(frame)} << kPageShift}; }
constexpr FrameNumber frame_at(PhysAddr address) {
  return FrameNumber{static_cast<std::uint32_t>(address.value >> kPageShift)};
}

// What the translation hardware tells address spaces apart by (Intel SDM volume 3A, section 4.10.1): 12 bits. The
// kernel's own translations are those of `kernel`, and global ones, which hold in every space.
enum class SpaceId : std::uint16_t { kernel = 0 };
inline constexpr std::uint16_t kSpaceIds = 1 << 12;
constexpr unsigned raw(SpaceId space) { return static_cast<unsigned>(space); }

// A block of 2^order frames, aligned to its own size.
enum class Order : std::uint8_t {};
constexpr unsigned raw(Order order) { return static_cast<unsigned>(order); }
constexpr std::size_t frames_in(Order order) { return std::size_t{1} << raw(order); }
constexpr std::size_t bytes_in(Order order) { return kPageSize << raw(order); }

}  // namespace memory
