// SPDX-License-Identifier: MIT
#include "kernel/shell/line_editor.hpp"

#include "tests/unit/unit.hpp"

using kernel::shell::LineEditor;
using Event = LineEditor::Event;

namespace {

class Screen final : public memory::Sink {
 public:
  void write(std::string_view text) override { shown_.text(text); }
  std::string_view view() const { return shown_.view(); }
  void clear() { shown_.clear(); }

 private:
  memory::TextBuffer<128> shown_;
};

struct Terminal {
  Screen screen;
  LineEditor editor{screen};

  // Types it all; what the last byte did.
  Event type(std::string_view text) {
    Event last = Event::none;
    for (const char byte : text) last = editor.feed(static_cast<std::uint8_t>(byte));
    return last;
  }
};

// On the kernel's stack a Terminal would be most of a frame.
Terminal& fresh_terminal() {
  alignas(Terminal) static std::byte room[sizeof(Terminal)];
  return *new (room) Terminal;
}

}  // namespace

TEST(line_editor, each_line_end_ends_it_once) {
  for (const std::string_view end : {"\r", "\n"}) {
    Terminal& terminal = fresh_terminal();
    EXPECT(terminal.type("help") == Event::none);
    EXPECT(terminal.type(end) == Event::line);
    EXPECT_EQ(terminal.editor.line(), std::string_view("help"));
  }
  Terminal& terminal = fresh_terminal();
  EXPECT(terminal.type("a\r") == Event::line);
  EXPECT(terminal.type("\n") == Event::none);  // belongs to the return
  EXPECT(terminal.type("\n") == Event::line);  // does not
}

TEST(line_editor, takes_characters_words_and_lines_away) {
  Terminal& terminal = fresh_terminal();
  terminal.type(
      "\b\x7f"
      "abc\bd");
  EXPECT_EQ(terminal.editor.line(), std::string_view("abd"));
  EXPECT_EQ(terminal.screen.view(), std::string_view("abc\b \bd"));
  terminal.type(" two  three\x17");
  EXPECT_EQ(terminal.editor.line(), std::string_view("abd two  "));
  terminal.type("\x17");
  EXPECT_EQ(terminal.editor.line(), std::string_view("abd "));
  terminal.type("\x15");
  EXPECT_EQ(terminal.editor.line(), std::string_view(""));
}

TEST(line_editor, a_character_of_several_bytes_goes_as_one) {
  Terminal& terminal = fresh_terminal();
  terminal.type("x\xe2\x9c\x93");
  EXPECT_EQ(terminal.editor.line(), std::string_view("x\xe2\x9c\x93"));
  terminal.screen.clear();
  terminal.type("\x7f");
  EXPECT_EQ(terminal.editor.line(), std::string_view("x"));
  EXPECT_EQ(terminal.screen.view(), std::string_view("\b \b"));
}

TEST(line_editor, drops_what_is_not_utf8) {
  for (const std::string_view bad :
       {"\xff", "\xfe\xff", "\x80", "\xc0\xaf", "\xc1\x81", "\xe0\x80\x80", "\xed\xa0\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x9c"}) {
    Terminal& terminal = fresh_terminal();
    terminal.type("a");
    terminal.type(bad);
    terminal.type("b");
    EXPECT_EQ(terminal.editor.line(), std::string_view("ab"));
  }
}

TEST(line_editor, skips_escape_sequences_but_no_line_end_in_them) {
  Terminal& terminal = fresh_terminal();
  terminal.type(std::string_view("a\x1b[A\x1b[1;5Db\x1bOPc\x1bxd\0e", 20));
  EXPECT_EQ(terminal.editor.line(), std::string_view("abcde"));
  EXPECT(terminal.type("\x1b[12\r") == Event::line);
}

TEST(line_editor, a_line_may_be_full_and_not_fuller) {
  Terminal& terminal = fresh_terminal();
  for (std::size_t i = 0; i < LineEditor::kMostBytes; ++i) terminal.type("x");
  EXPECT(terminal.type("\r") == Event::line);
  EXPECT_EQ(terminal.editor.line().size(), LineEditor::kMostBytes);
  terminal.editor.clear();
  for (std::size_t i = 0; i <= LineEditor::kMostBytes; ++i) terminal.type("x");
  EXPECT(terminal.type("\r") == Event::too_long);
  EXPECT(terminal.type("ok\r") == Event::line);
  EXPECT_EQ(terminal.editor.line(), std::string_view("ok"));
}

TEST(line_editor, control_c_throws_the_line_away) {
  Terminal& terminal = fresh_terminal();
  EXPECT(terminal.type("junk\x03") == Event::cancel);
  EXPECT(terminal.type("\r") == Event::line);
  EXPECT_EQ(terminal.editor.line(), std::string_view(""));
}
