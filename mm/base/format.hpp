// Text into a fixed buffer, and numbers out of text: no allocation, no locale, no terminating zero.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mm/base/result.hpp"

namespace memory {

// How an item sits in its column: at least `width` characters, the rest filled. An item wider than its column
// is written whole, so a table may lose its shape but never a digit.
struct Column {
  enum class Side : std::uint8_t { left, right };
  std::size_t width = 0;
  Side side = Side::left;
  char fill = ' ';
};
constexpr Column left(std::size_t width, char fill = ' ') { return {width, Column::Side::left, fill}; }
constexpr Column right(std::size_t width, char fill = ' ') { return {width, Column::Side::right, fill}; }

// Appends to a buffer that it does not own, never past its end. The first item that does not fit is cut, the
// text ends in "..." (as much of it as the buffer holds) and everything after is ignored; truncated() tells.
class Writer {
 public:
  constexpr Writer(char* buffer, std::size_t capacity) : buffer_(buffer), capacity_(capacity) {}
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  Writer& text(std::string_view text, Column column = {});
  Writer& character(char character);
  // What somebody else wrote, so that it cannot harm a terminal: in '', at most 40 bytes, others than printable
  // ASCII as \xNN.
  Writer& quoted(std::string_view text);
  template <std::integral Number>
  Writer& number(Number number, Column column = {}) {  // decimal, '-' when negative
    if constexpr (std::signed_integral<Number>) {
      const auto wide = static_cast<std::uint64_t>(static_cast<std::int64_t>(number));
      return decimal(number < 0 ? 0 - wide : wide, number < 0 ? "-" : "", column);
    } else {
      return decimal(number, "", column);
    }
  }
  Writer& hex(std::uint64_t number,
              std::size_t digits = 1);  // "0x" and at least `digits` (<= 16), lower case
  Writer& address(std::uint64_t address) { return hex(address, 16); }
  // For people: 1024-based with at most one decimal, rounded to the nearest: "0 B", "4 KiB", "1.5 MiB".
  // A whole multiple of its unit has no decimal, so "4.0 KiB" says "about".
  Writer& size(std::uint64_t bytes, Column column = {});
  Writer& pad_to(std::size_t width, char fill = ' ');  // fills the current line up to `width` characters
  void clear();

  constexpr std::string_view view() const { return {buffer_, used_}; }
  constexpr bool truncated() const { return truncated_; }
  constexpr std::size_t room() const { return truncated_ ? 0 : capacity_ - used_; }

 private:
  Writer& decimal(std::uint64_t magnitude, std::string_view sign, Column column);
  void append(std::string_view text);
  void repeat(char fill, std::size_t times);
  void cut();

  char* buffer_;
  std::size_t capacity_;
  std::size_t used_ = 0;
  bool truncated_ = false;
};

// A Writer with its buffer of N characters in itself.
template <std::size_t N>
class TextBuffer : public Writer {
 public:
  constexpr TextBuffer() : Writer(characters_, N) {}

 private:
  char characters_[N];
};

// Reads the whole text as one unsigned number: decimal, or hexadecimal after 0x, then at most one of K M G
// (either case; 2^10, 2^20, 2^30). Fails with invalid when it is anything else (empty, sign, space, a stray
// character), too_big when the number needs more than 64 bits.
Result<std::uint64_t> parse_number(std::string_view text);

}  // namespace memory
