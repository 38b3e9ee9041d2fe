// HeapBlock: what stands in front of every block of a heap, and how a reader knows that it is whole.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/types.hpp"

namespace memory {

// The first word of a block is its header, one word that holds the block's size and flags (together its `info`), and
// that decodes to one of two magic values or to nothing:
//
//   header = magic ^ spread(info) ^ address ^ secret         spread(info) = info * 0x9e3779b1'00000001 mod 2^64
//
// The lower half of spread(info) is info itself, the upper half an odd multiple of it. So one wrong bit anywhere in a
// header never decodes, any other overwriting does with a chance of 2^-31, a header copied elsewhere does not because
// of the address, and one that is forged needs the secret.
//
//    used:  | header | payload ..................................... |   the payload lies at a multiple of 16
//    free:  | header | next | previous | ................... | footer |
//
// The footer is encoded like the header, magic and all, for the address where it stands. A block knows from a flag
// whether the block before it is free, and so has one: then it finds that block's beginning.
struct HeapBlock {
  static constexpr std::uint64_t kFreeMagic = 0xdead'beef'cafe'babe;
  static constexpr std::uint64_t kUsedMagic = 0xfeed'face'dead'c0de;

  static constexpr std::size_t kGranule = 16;     // sizes are multiples of it
  static constexpr std::size_t kHeaderBytes = 8;  // a block starts so much below a multiple of the granule
  static constexpr std::size_t kFooterBytes = 8;
  static constexpr std::size_t kSmallest = 32;     // header, two links, footer
  static constexpr std::size_t kLinkedBytes = 24;  // what a free block uses at its beginning

  // info: the size, and these below it.
  static constexpr std::uint32_t kPreviousFree = 1;
  static constexpr std::uint32_t kFlags = kGranule - 1;

  std::uint64_t header;
  // While the block is free: its neighbours on a list of blocks of about its size, 0 for none.
  std::uint64_t next;
  std::uint64_t previous;
};

// The codec of one heap.
class HeapKey {
 public:
  static constexpr std::uint64_t kSpread = 0x9e37'79b1'0000'0001;
  static constexpr std::uint64_t kUsedToFree = HeapBlock::kUsedMagic ^ HeapBlock::kFreeMagic;

  enum class Kind : std::uint8_t { used, free };

  explicit constexpr HeapKey(std::uint64_t secret)
      : used_(HeapBlock::kUsedMagic ^ secret), free_(HeapBlock::kFreeMagic ^ secret) {}

  static constexpr std::uint64_t spread(std::uint32_t info) { return info * kSpread; }
  static constexpr std::uint32_t info(std::uint64_t plain) { return static_cast<std::uint32_t>(plain); }

  // `plain` is spread(info); the header that stands at `address`.
  constexpr std::uint64_t encode(std::uint64_t address, Kind kind, std::uint64_t plain) const {
    return plain ^ address ^ key(kind);
  }
  // Whether `word`, standing at `address`, is a header of that kind; then `plain` is spread(info), else undefined.
  constexpr bool decode(std::uint64_t word, std::uint64_t address, Kind kind, std::uint64_t& plain) const {
    plain = word ^ address ^ key(kind);
    return plain == spread(info(plain));
  }

  constexpr std::uint64_t secret() const { return used_ ^ HeapBlock::kUsedMagic; }

 private:
  constexpr std::uint64_t key(Kind kind) const { return kind == Kind::used ? used_ : free_; }

  std::uint64_t used_;
  std::uint64_t free_;
};

}  // namespace memory
