// LineEditor: bytes of a terminal in, whole lines out, with echo. Knows nothing of ports or commands.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "kernel/shell/history.hpp"
#include "mm/stats/inspector.hpp"

namespace kernel::shell {

// Keys: left and right (^B ^F), home and end (^A ^E) move; up and down (^P ^N) walk through the last lines; backspace
// takes the character before the cursor, delete (^D) the one under it, ^W the word before it, ^K the rest, ^U and ^C
// the line; tab completes the first word, and anywhere else is a space; CR, LF and CRLF each end the line once, wherever
// the cursor stands. Other escape sequences, NUL, other control bytes and everything that is not UTF-8 are ignored.
// Nothing here fails. The terminal is taken to be wide enough for the line, and a character for one column.
class LineEditor {
 public:
  static constexpr std::size_t kMostBytes = 1024;

  enum class Event : std::uint8_t {
    none,
    line,      // line() is whole; call clear() when done with it
    too_long,  // a line of more than kMostBytes ended; it is gone
    cancel,    // ^C
  };

  // The index-th name that a first word may be; empty: there are no more.
  using Names = std::string_view (*)(std::size_t index);

  // `echo` gets what the terminal should show. `prompt` is what stands before the line, for when it is shown anew.
  explicit constexpr LineEditor(memory::Sink& echo, Names names = nullptr, std::string_view prompt = {})
      : echo_(echo), names_(names), prompt_(prompt) {}
  LineEditor(const LineEditor&) = delete;

  Event feed(std::uint8_t byte);
  std::string_view line() const { return {text_.data(), used_}; }
  void clear();

 private:
  enum class Escape : std::uint8_t { none, began, parameters, one_more };

  bool take_escape(std::uint8_t byte);
  void end_escape(std::uint8_t final);
  bool control(std::uint8_t byte);
  Event end_line();
  Event cancel();
  void insert_ascii(std::uint8_t byte);
  void insert_utf8(std::uint8_t byte);
  void insert(std::string_view character);
  void erase_before();
  void erase_under();
  void erase_word();
  void erase_rest();
  void erase_line();
  void move_left();
  void move_right();
  void move_home();
  void move_end();
  void recall(const std::string_view* text);
  void complete();
  void list_names(std::string_view beginning);

  void remove(std::size_t first, std::size_t end);
  void back(std::size_t columns);
  std::string_view rest() const { return line().substr(cursor_); }

  memory::Sink& echo_;
  Names names_;
  std::string_view prompt_;
  History history_;
  std::array<char, kMostBytes> text_{};
  std::size_t used_ = 0;
  std::size_t cursor_ = 0;  // a byte of the line, the first of its character; used_ is behind the last
  bool too_long_ = false;
  bool after_return_ = false;  // a line feed now belongs to the carriage return before
  Escape escape_ = Escape::none;
  unsigned parameter_ = 0;           // of the escape sequence; kNoKey when it is none that a key sends
  std::array<char, 4> character_{};  // an unfinished UTF-8 character
  std::uint8_t character_bytes_ = 0;
  std::uint8_t character_needs_ = 0;
};

}  // namespace kernel::shell
