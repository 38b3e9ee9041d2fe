// LineEditor: bytes of a terminal in, whole lines out, with echo. Knows nothing of ports or commands.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "mm/stats/inspector.hpp"

namespace kernel::shell {

// Keys: backspace and delete take a character, ^W a word, ^U and ^C the line; CR, LF and CRLF each end it
// once. Escape sequences, NUL, other control bytes and everything that is not UTF-8 are ignored. Nothing here
// fails.
class LineEditor {
 public:
  static constexpr std::size_t kMostBytes = 1024;

  enum class Event : std::uint8_t {
    none,
    line,      // line() is whole; call clear() when done with it
    too_long,  // a line of more than kMostBytes ended; it is gone
    cancel,    // ^C
  };

  // `echo` gets what the terminal should show.
  explicit constexpr LineEditor(memory::Sink& echo) : echo_(echo) {}
  LineEditor(const LineEditor&) = delete;

  Event feed(std::uint8_t byte);
  std::string_view line() const { return {text_.data(), used_}; }
  void clear();

 private:
  enum class Escape : std::uint8_t { none, began, parameters, one_more };

  bool skip_escape(std::uint8_t byte);
  Event end_line();
  Event cancel();
  void insert_ascii(std::uint8_t byte);
  void insert_utf8(std::uint8_t byte);
  void insert(std::string_view character);
  void erase_character();
  void erase_word();
  void erase_line();

  memory::Sink& echo_;
  std::array<char, kMostBytes> text_{};
  std::size_t used_ = 0;
  bool too_long_ = false;
  bool after_return_ = false;  // a line feed now belongs to the carriage return before
  Escape escape_ = Escape::none;
  std::array<char, 4> character_{};  // an unfinished UTF-8 character
  std::uint8_t character_bytes_ = 0;
  std::uint8_t character_needs_ = 0;
};

}  // namespace kernel::shell
