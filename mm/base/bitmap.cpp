// Theory. A range of bits is a run of words with a partial one at either end; each operation goes over the
// words once, with a mask for what of the word is meant. A search for clear bits is one for set bits in the
// complement.
// SPDX-License-Identifier: MIT
#include "mm/base/bitmap.hpp"

#include "mm/base/bits.hpp"
#include "mm/base/check.hpp"

namespace memory {

namespace {

constexpr std::size_t kBits = 64;

// The word's bits, where `value` is 1.
constexpr std::uint64_t as_ones(std::uint64_t word, Bitmap::Bit value) {
  return value == Bitmap::Bit::set ? word : ~word;
}

// Calls visit(word index, mask) for each word of the range, until it returns false.
template <typename Visit>
void for_each_word(std::size_t first, std::size_t count, Visit visit) {
  while (count > 0) {
    const std::size_t bit = first % kBits;
    const std::size_t here = count < kBits - bit ? count : kBits - bit;
    if (!visit(first / kBits, low_bits(static_cast<unsigned>(here)) << bit)) return;
    first += here;
    count -= here;
  }
}

}  // namespace

Bitmap::Bitmap(std::span<std::uint64_t> words, std::size_t bits) : words_(words.data()), bits_(bits) {
  CHECK(words_for(bits) <= words.size());
}

bool Bitmap::test(std::size_t bit) const {
  check_inside(bit, 1);
  return (words_[bit / kBits] >> bit % kBits & 1) != 0;
}

void Bitmap::set(std::size_t first, std::size_t count) {
  check_inside(first, count);
  for_each_word(first, count, [this](std::size_t word, std::uint64_t mask) {
    words_[word] |= mask;
    return true;
  });
}

void Bitmap::clear(std::size_t first, std::size_t count) {
  check_inside(first, count);
  for_each_word(first, count, [this](std::size_t word, std::uint64_t mask) {
    words_[word] &= ~mask;
    return true;
  });
}

bool Bitmap::all(Bit value, std::size_t first, std::size_t count) const {
  check_inside(first, count);
  bool all = true;
  for_each_word(first, count, [&](std::size_t word, std::uint64_t mask) {
    return all = (as_ones(words_[word], value) & mask) == mask;
  });
  return all;
}

std::size_t Bitmap::count(Bit value, std::size_t first, std::size_t count) const {
  check_inside(first, count);
  std::size_t found = 0;
  for_each_word(first, count, [&](std::size_t word, std::uint64_t mask) {
    found += popcount(as_ones(words_[word], value) & mask);
    return true;
  });
  return found;
}

Result<std::size_t> Bitmap::find(Bit value, std::size_t from) const {
  const std::size_t found = next(value, from);
  if (found == bits_) return Error::not_found;
  return found;
}

// From run to run: a run is as long as it is to the next bit of the other value.
Result<std::size_t> Bitmap::find_run(Bit value, std::size_t length, std::size_t alignment,
                                     std::size_t from) const {
  CHECK(length > 0 && alignment > 0 && (alignment & (alignment - 1)) == 0);
  const Bit other = value == Bit::set ? Bit::clear : Bit::set;
  while ((from = next(value, from)) < bits_) {
    const std::size_t aligned = (from + alignment - 1) & ~(alignment - 1);
    if (aligned < from || aligned >= bits_ || length > bits_ - aligned) break;
    const std::size_t end = next(other, from);
    if (aligned < end && length <= end - aligned) return aligned;
    from = end;
  }
  return Error::not_found;
}

std::size_t Bitmap::next(Bit value, std::size_t from) const {
  for (; from < bits_; from = (from / kBits + 1) * kBits) {
    const std::uint64_t left = as_ones(words_[from / kBits], value) >> from % kBits;
    if (left == 0) continue;
    from += lowest_bit(left);
    return from < bits_ ? from : bits_;
  }
  return bits_;
}

void Bitmap::check_inside(std::size_t first, std::size_t count) const {
  CHECK(first <= bits_ && count <= bits_ - first);
}

}  // namespace memory
