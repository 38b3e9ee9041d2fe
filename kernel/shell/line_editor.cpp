// SPDX-License-Identifier: MIT
#include "kernel/shell/line_editor.hpp"

namespace kernel::shell {

namespace {

enum Key : std::uint8_t {
  kControlC = 0x03,
  kBackspace = 0x08,
  kLineFeed = 0x0a,
  kReturn = 0x0d,
  kControlU = 0x15,
  kControlW = 0x17,
  kEscape = 0x1b,
  kSpace = 0x20,
  kDelete = 0x7f,
};

constexpr bool continues_character(std::uint8_t byte) { return (byte & 0xc0) == 0x80; }

// Bytes of the UTF-8 character that begins so; 0 when none does (RFC 3629, section 4).
constexpr std::uint8_t character_size(std::uint8_t byte) {
  if (byte >= 0xc2 && byte <= 0xdf) return 2;
  if (byte >= 0xe0 && byte <= 0xef) return 3;
  if (byte >= 0xf0 && byte <= 0xf4) return 4;
  return 0;
}

// The second byte may not make an overlong form, a surrogate, or more than U+10FFFF.
constexpr bool second_byte_fits(std::uint8_t first, std::uint8_t second) {
  switch (first) {
    case 0xe0: return second >= 0xa0;
    case 0xed: return second <= 0x9f;
    case 0xf0: return second >= 0x90;
    case 0xf4: return second <= 0x8f;
    default: return true;
  }
}

}  // namespace

LineEditor::Event LineEditor::feed(std::uint8_t byte) {
  const bool after_return = after_return_;
  after_return_ = false;
  if (skip_escape(byte)) return Event::none;
  if (byte >= 0x80) {
    insert_utf8(byte);
    return Event::none;
  }
  character_needs_ = 0;  // an unfinished character is dropped
  switch (byte) {
    case kReturn: after_return_ = true; return end_line();
    case kLineFeed: return after_return ? Event::none : end_line();
    case kControlC: return cancel();
    case kEscape: escape_ = Escape::began; return Event::none;
    case kBackspace:
    case kDelete: erase_character(); return Event::none;
    case kControlU: erase_line(); return Event::none;
    case kControlW: erase_word(); return Event::none;
    case '\t': insert_ascii(kSpace); return Event::none;
    default:
      if (byte >= kSpace) insert_ascii(byte);
      return Event::none;
  }
}

// ECMA-48, section 5.4: ESC [ parameters final, ESC O final (a key of the VT100's), ESC anything else. A
// control byte inside ends the sequence and counts as itself: a lost byte must not swallow the next line.
bool LineEditor::skip_escape(std::uint8_t byte) {
  if (escape_ == Escape::none) return false;
  if (byte < kSpace || byte >= kDelete) {
    escape_ = Escape::none;
    return false;
  }
  if (escape_ == Escape::began) {
    escape_ = byte == '[' ? Escape::parameters : byte == 'O' ? Escape::one_more : Escape::none;
  } else if (escape_ == Escape::one_more || byte >= 0x40) {
    escape_ = Escape::none;
  }
  return true;
}

void LineEditor::clear() {
  used_ = 0;
  too_long_ = false;
  character_needs_ = 0;
}

LineEditor::Event LineEditor::end_line() {
  echo_.write("\n");
  if (!too_long_) return Event::line;
  clear();
  return Event::too_long;
}

LineEditor::Event LineEditor::cancel() {
  echo_.write("^C\n");
  clear();
  return Event::cancel;
}

void LineEditor::insert_ascii(std::uint8_t byte) {
  const char character = static_cast<char>(byte);
  insert({&character, 1});
}

void LineEditor::insert_utf8(std::uint8_t byte) {
  if (!continues_character(byte)) {
    character_needs_ = character_size(byte);
    character_[0] = static_cast<char>(byte);
    character_bytes_ = 1;
    return;
  }
  if (character_needs_ == 0) return;
  if (character_bytes_ == 1 && !second_byte_fits(static_cast<std::uint8_t>(character_[0]), byte)) {
    character_needs_ = 0;
    return;
  }
  character_[character_bytes_++] = static_cast<char>(byte);
  if (character_bytes_ < character_needs_) return;
  insert({character_.data(), character_bytes_});
  character_needs_ = 0;
}

void LineEditor::insert(std::string_view character) {
  if (too_long_ || character.size() > kMostBytes - used_) {
    too_long_ = true;
    return;
  }
  for (const char byte : character) text_[used_++] = byte;
  echo_.write(character);
}

void LineEditor::erase_character() {
  if (used_ == 0) return;
  do --used_;
  while (used_ > 0 && continues_character(static_cast<std::uint8_t>(text_[used_])));
  echo_.write("\b \b");
}

void LineEditor::erase_word() {
  while (used_ > 0 && text_[used_ - 1] == ' ') erase_character();
  while (used_ > 0 && text_[used_ - 1] != ' ') erase_character();
}

void LineEditor::erase_line() {
  while (used_ > 0) erase_character();
  too_long_ = false;
}

}  // namespace kernel::shell
