// SPDX-License-Identifier: MIT
#include "kernel/shell/line_editor.hpp"

namespace kernel::shell {

namespace {

enum Key : std::uint8_t {
  kControlA = 0x01,
  kControlB = 0x02,
  kControlC = 0x03,
  kControlD = 0x04,
  kControlE = 0x05,
  kControlF = 0x06,
  kBackspace = 0x08,
  kTab = 0x09,
  kLineFeed = 0x0a,
  kControlK = 0x0b,
  kReturn = 0x0d,
  kControlN = 0x0e,
  kControlP = 0x10,
  kControlU = 0x15,
  kControlW = 0x17,
  kEscape = 0x1b,
  kSpace = 0x20,
  kDelete = 0x7f,
};

constexpr unsigned kNoKey = 1000;  // parameters of keys have one or two digits

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

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  for (const char byte : text) columns += !continues_character(static_cast<std::uint8_t>(byte));
  return columns;
}

}  // namespace

LineEditor::Event LineEditor::feed(std::uint8_t byte) {
  const bool after_return = after_return_;
  after_return_ = false;
  if (take_escape(byte)) return Event::none;
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
    default:
      if (!control(byte) && byte >= kSpace) insert_ascii(byte);
      return Event::none;
  }
}

// True when the byte is a key that edits.
bool LineEditor::control(std::uint8_t byte) {
  switch (byte) {
    case kControlA: move_home(); return true;
    case kControlB: move_left(); return true;
    case kControlD: erase_under(); return true;
    case kControlE: move_end(); return true;
    case kControlF: move_right(); return true;
    case kBackspace:
    case kDelete: erase_before(); return true;
    case kTab: complete(); return true;
    case kControlK: erase_rest(); return true;
    case kControlN: recall(history_.newer()); return true;
    case kControlP: recall(history_.older(line())); return true;
    case kControlU: erase_line(); return true;
    case kControlW: erase_word(); return true;
    default: return false;
  }
}

// ECMA-48, section 5.4: ESC [ parameters final, ESC O final (a key of the VT100's), ESC anything else. A
// control byte inside ends the sequence and counts as itself: a lost byte must not swallow the next line.
bool LineEditor::take_escape(std::uint8_t byte) {
  if (escape_ == Escape::none) return false;
  if (byte < kSpace || byte >= kDelete) {
    escape_ = Escape::none;
    return false;
  }
  if (escape_ == Escape::began) {
    escape_ = byte == '[' ? Escape::parameters : byte == 'O' ? Escape::one_more : Escape::none;
    parameter_ = 0;
  } else if (escape_ == Escape::one_more || byte >= 0x40) {
    escape_ = Escape::none;
    end_escape(byte);
  } else {
    const bool digit = byte >= '0' && byte <= '9' && parameter_ < 10;
    parameter_ = digit ? parameter_ * 10 + (byte - '0') : kNoKey;
  }
  return true;
}

// What terminals send for the keys of an editing keypad: ESC [ or ESC O with a letter, or ESC [ number ~. With
// modifiers (a second parameter) a key does nothing.
void LineEditor::end_escape(std::uint8_t final) {
  if (parameter_ == 0) {
    switch (final) {
      case 'A': return recall(history_.older(line()));
      case 'B': return recall(history_.newer());
      case 'C': return move_right();
      case 'D': return move_left();
      case 'F': return move_end();
      case 'H': return move_home();
      default: return;
    }
  }
  if (final != '~') return;
  switch (parameter_) {
    case 1:
    case 7: return move_home();
    case 3: return erase_under();
    case 4:
    case 8: return move_end();
    default: return;
  }
}

void LineEditor::clear() {
  used_ = 0;
  cursor_ = 0;
  too_long_ = false;
  character_needs_ = 0;
  history_.end_walk();
}

LineEditor::Event LineEditor::end_line() {
  echo_.write("\n");
  if (!too_long_) {
    history_.add(line());
    return Event::line;
  }
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
  for (std::size_t i = used_; i > cursor_; --i) text_[i - 1 + character.size()] = text_[i - 1];
  for (const char byte : character) text_[cursor_++] = byte;
  used_ += character.size();
  echo_.write(character);
  echo_.write(rest());
  back(columns_of(rest()));
}

// ---- taking away

// Takes [first, end) out of the line. What is shown is the caller's.
void LineEditor::remove(std::size_t first, std::size_t end) {
  for (std::size_t i = end; i < used_; ++i) text_[first + (i - end)] = text_[i];
  used_ -= end - first;
  cursor_ = first;
}

void LineEditor::erase_before() {
  if (cursor_ == 0) return;
  std::size_t first = cursor_ - 1;
  while (first > 0 && continues_character(static_cast<std::uint8_t>(text_[first]))) --first;
  remove(first, cursor_);
  echo_.write("\b");
  echo_.write(rest());
  echo_.write(" \b");
  back(columns_of(rest()));
}

void LineEditor::erase_under() {
  if (cursor_ == used_) return;
  move_right();
  erase_before();
}

void LineEditor::erase_word() {
  while (cursor_ > 0 && text_[cursor_ - 1] == ' ') erase_before();
  while (cursor_ > 0 && text_[cursor_ - 1] != ' ') erase_before();
}

void LineEditor::erase_rest() {
  const std::size_t columns = columns_of(rest());
  for (std::size_t i = 0; i < columns; ++i) echo_.write(" ");
  back(columns);
  used_ = cursor_;
}

void LineEditor::erase_line() {
  move_end();
  while (used_ > 0) erase_before();
  too_long_ = false;
}

// ---- moving

void LineEditor::back(std::size_t columns) {
  for (; columns > 0; --columns) echo_.write("\b");
}

void LineEditor::move_left() {
  if (cursor_ == 0) return;
  do --cursor_;
  while (cursor_ > 0 && continues_character(static_cast<std::uint8_t>(text_[cursor_])));
  back(1);
}

void LineEditor::move_right() {
  if (cursor_ == used_) return;
  const std::size_t first = cursor_;
  do ++cursor_;
  while (cursor_ < used_ && continues_character(static_cast<std::uint8_t>(text_[cursor_])));
  echo_.write(line().substr(first, cursor_ - first));
}

void LineEditor::move_home() {
  back(columns_of(line().substr(0, cursor_)));
  cursor_ = 0;
}

void LineEditor::move_end() {
  echo_.write(rest());
  cursor_ = used_;
}

// Puts a line of the history in place of this one; null: there is none.
void LineEditor::recall(const std::string_view* text) {
  if (text == nullptr) return;
  erase_line();
  for (const char byte : *text) text_[used_++] = byte;
  move_end();
}

// ---- completing

// Only a first word that the cursor stands behind, and only where that says more than the space that a tab is in
// text from elsewhere: not behind a whole name, and not behind the beginning of none.
void LineEditor::complete() {
  const std::string_view before = line().substr(0, cursor_);
  const std::size_t first = before.find_first_not_of(' ');
  const bool at_first_word = cursor_ == used_ && first != std::string_view::npos &&
                             before.find(' ', first) == std::string_view::npos;
  if (names_ == nullptr || too_long_ || !at_first_word) return insert_ascii(kSpace);

  const std::string_view word = before.substr(first);
  std::size_t matches = 0;
  std::string_view common;
  for (std::size_t i = 0; !names_(i).empty(); ++i) {
    const std::string_view name = names_(i);
    if (name == word) return insert_ascii(kSpace);
    if (!name.starts_with(word)) continue;
    if (matches++ == 0) common = name;
    std::size_t same = 0;
    while (same < common.size() && same < name.size() && common[same] == name[same]) ++same;
    common = common.substr(0, same);
  }
  const std::size_t typed = word.size();  // `word` shows the line, which grows now
  for (const char byte : common.substr(matches > 0 ? typed : 0))
    insert_ascii(static_cast<std::uint8_t>(byte));
  if (matches < 2) return insert_ascii(kSpace);
  list_names(common);
}

void LineEditor::list_names(std::string_view beginning) {
  for (std::size_t i = 0; !names_(i).empty(); ++i) {
    if (!names_(i).starts_with(beginning)) continue;
    echo_.write("\n  ");
    echo_.write(names_(i));
  }
  echo_.write("\n");
  echo_.write(prompt_);
  echo_.write(line());
}

}  // namespace kernel::shell
