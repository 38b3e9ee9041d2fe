// PhysView: bounded reads of physical memory, through a window that shows a part of it.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "mm/base/result.hpp"
#include "mm/base/types.hpp"

namespace boot {

using memory::Error;
using memory::PhysAddr;
using memory::Result;

// The only way in which boot/ reads memory. On the machine `base` is where the boot page tables map physical
// address 0 (not the null pointer: the map at -2 GiB) and `end` is where that map ends; in a test it is any
// array. Owns nothing. Every read is checked against both ends, and no alignment is asked for.
class PhysView {
 public:
  // `base` shows the byte at `first`. Precondition: first <= end.
  constexpr PhysView(const std::byte* base, PhysAddr end, PhysAddr first = {})
      : base_(base), first_(first), end_(end) {}

  constexpr PhysAddr end() const { return end_; }

  // Whether the bytes [address, address + bytes) lie in the window. No sum can overflow here.
  constexpr bool contains(PhysAddr address, std::uint64_t bytes) const {
    return address >= first_ && address <= end_ && bytes <= end_ - address;
  }

  // Fails with invalid when the record does not lie in the window.
  template <typename Record>
  Result<Record> read(PhysAddr address) const {
    static_assert(std::is_trivially_copyable_v<Record>);
    if (!contains(address, sizeof(Record))) return Error::invalid;
    Record record;
    __builtin_memcpy(&record, base_ + (address - first_), sizeof record);
    return record;
  }

  // The sum of all bytes modulo 256. Precondition: contains(address, bytes).
  std::uint8_t sum(PhysAddr address, std::uint64_t bytes) const {
    const std::byte* const first = base_ + (address - first_);
    std::uint8_t sum = 0;
    for (std::uint64_t i = 0; i < bytes; ++i)
      sum = static_cast<std::uint8_t>(sum + std::to_integer<unsigned>(first[i]));
    return sum;
  }

  // The characters from `address` to the first zero byte, at most `limit` of them and none beyond the window;
  // shows the memory itself. The text is as long as all that was looked at when there is no zero byte in it.
  std::string_view text(PhysAddr address, std::uint64_t limit) const {
    if (!contains(address, 0)) return {};
    const std::uint64_t room = end_ - address;
    const std::uint64_t most = limit < room ? limit : room;
    const char* const first = reinterpret_cast<const char*>(base_ + (address - first_));
    std::uint64_t length = 0;
    while (length < most && first[length] != '\0') ++length;
    return {first, length};
  }

 private:
  const std::byte* base_;
  PhysAddr first_;
  PhysAddr end_;
};

}  // namespace boot
