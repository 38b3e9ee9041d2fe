// SPDX-License-Identifier: MIT
#include "kernel/shell/line_editor.hpp"

#include <array>

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
  memory::TextBuffer<512> shown_;
};

constexpr std::array<std::string_view, 5> kNames{"alloc", "frames", "free", "held", "help"};
std::string_view name_at(std::size_t index) {
  return index < kNames.size() ? kNames[index] : std::string_view{};
}

struct Terminal {
  Screen screen;
  LineEditor editor{screen, name_at, "> "};

  // Types a line and enters it.
  void enter(std::string_view text) {
    type(text);
    EXPECT(type("\r") == Event::line);
    editor.clear();
  }

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

TEST(line_editor, moves_and_inserts_where_the_cursor_is) {
  Terminal& terminal = fresh_terminal();
  terminal.type("bd\x1b[D");
  terminal.screen.clear();
  terminal.type("c");
  EXPECT_EQ(terminal.screen.view(), std::string_view("cd\b"));
  terminal.screen.clear();
  terminal.type(
      "\x01"
      "a");
  EXPECT_EQ(terminal.screen.view(), std::string_view("\b\babcd\b\b\b"));
  terminal.type(
      "\x05"
      "e\x02\x02\x02\x06!");
  EXPECT_EQ(terminal.editor.line(), std::string_view("abc!de"));
  EXPECT(terminal.type("\r") == Event::line);  // the cursor is inside: the line is whole
  EXPECT_EQ(terminal.editor.line(), std::string_view("abc!de"));
}

TEST(line_editor, knows_the_keys_of_every_terminal) {
  for (const std::string_view home : {"\x1b[H", "\x1b[1~", "\x1b[7~", "\x1bOH", "\x01"}) {
    for (const std::string_view end : {"\x1b[F", "\x1b[4~", "\x1b[8~", "\x1bOF", "\x05"}) {
      Terminal& terminal = fresh_terminal();
      terminal.type("b");
      terminal.type(home);
      terminal.type("a");
      terminal.type(end);
      terminal.type("c");
      EXPECT_EQ(terminal.editor.line(), std::string_view("abc"));
    }
  }
  Terminal& terminal = fresh_terminal();
  terminal.type("abc\x1bOD\x1b[D\x1b[D\x1b[D\x1b[3~\x1b[C\x1bOCX");  // left at the beginning does nothing
  EXPECT_EQ(terminal.editor.line(), std::string_view("bcX"));
  terminal.type("\x1b[C\x1b[3~\x04Y");  // nor do right and delete at the end
  EXPECT_EQ(terminal.editor.line(), std::string_view("bcXY"));
  terminal.type(
      "\x1b[1;5D\x1b[5~\x1b[33~\x1b[3;2~\x1b[200~\x1b[2D\x1b[99999999999D\x1b[?1DZ");  // no keys of ours
  EXPECT_EQ(terminal.editor.line(), std::string_view("bcXYZ"));
}

TEST(line_editor, takes_away_in_the_middle) {
  Terminal& terminal = fresh_terminal();
  terminal.type("abcd\x02\x02");
  terminal.screen.clear();
  terminal.type("\x7f");
  EXPECT_EQ(terminal.editor.line(), std::string_view("acd"));
  EXPECT_EQ(terminal.screen.view(), std::string_view("\bcd \b\b\b"));
  terminal.screen.clear();
  terminal.type("\x04");
  EXPECT_EQ(terminal.editor.line(), std::string_view("ad"));
  EXPECT_EQ(terminal.screen.view(), std::string_view("c\bd \b\b"));
  terminal.type(
      "\x01"
      "one two \x17");
  EXPECT_EQ(terminal.editor.line(), std::string_view("one ad"));
  terminal.screen.clear();
  terminal.type("\x0b");
  EXPECT_EQ(terminal.editor.line(), std::string_view("one "));
  EXPECT_EQ(terminal.screen.view(), std::string_view("  \b\b"));
  terminal.type("\x01\x15");  // the whole line, wherever the cursor is
  EXPECT_EQ(terminal.editor.line(), std::string_view(""));
}

TEST(line_editor, moves_over_characters_not_bytes) {
  Terminal& terminal = fresh_terminal();
  terminal.type("x\xe2\x9c\x93y\x02\x02");
  terminal.screen.clear();
  terminal.type("-\x06\x7f");
  EXPECT_EQ(terminal.editor.line(), std::string_view("x-y"));
  EXPECT_EQ(terminal.screen.view(), std::string_view("-\xe2\x9c\x93y\b\b\xe2\x9c\x93\by \b\b"));
  terminal.type("\x01\x06\xc3\xbc");
  EXPECT_EQ(terminal.editor.line(), std::string_view("x\xc3\xbc-y"));
}

TEST(line_editor, a_full_line_takes_nothing_in_its_middle_either) {
  Terminal& terminal = fresh_terminal();
  for (std::size_t i = 0; i < LineEditor::kMostBytes; ++i) terminal.type("x");
  terminal.type("\x01y");
  EXPECT(terminal.type("\r") == Event::too_long);
  EXPECT(terminal.type("ok\r") == Event::line);
  EXPECT_EQ(terminal.editor.line(), std::string_view("ok"));
}

TEST(line_editor, walks_through_the_last_lines) {
  Terminal& terminal = fresh_terminal();
  terminal.type("\x1b[A\x1b[B\x10\x0e");  // there are none yet
  EXPECT_EQ(terminal.editor.line(), std::string_view(""));
  for (const std::string_view line : {"one", "two", "  ", "", "two", "three"}) terminal.enter(line);
  terminal.type("draft\x1b[A");
  EXPECT_EQ(terminal.editor.line(), std::string_view("three"));
  terminal.screen.clear();
  terminal.type("\x1bOA");
  EXPECT_EQ(terminal.editor.line(), std::string_view("two"));  // once, and no empty ones
  EXPECT_EQ(terminal.screen.view(), std::string_view("\b \b\b \b\b \b\b \b\b \btwo"));
  terminal.type("\x10\x10\x10");  // stays at the oldest
  EXPECT_EQ(terminal.editor.line(), std::string_view("one"));
  terminal.type("\x1b[B\x0e");
  EXPECT_EQ(terminal.editor.line(), std::string_view("three"));
  terminal.type("\x1bOB\x0e");
  EXPECT_EQ(terminal.editor.line(), std::string_view("draft"));
  terminal.type("\x10\x10!");
  terminal.enter("");  // a line of the past, changed, is a new one
  terminal.type("\x10");
  EXPECT_EQ(terminal.editor.line(), std::string_view("two!"));
  EXPECT(terminal.type("\x03") == Event::cancel);
  terminal.type("\x10\x10");
  EXPECT_EQ(terminal.editor.line(), std::string_view("three"));  // unchanged, and what ^C took is not kept
}

TEST(line_editor, keeps_sixteen_lines) {
  Terminal& terminal = fresh_terminal();
  for (unsigned n = 0; n < 40; ++n) {
    memory::TextBuffer<16> line;
    terminal.enter(line.text("line").number(n).view());
  }
  for (unsigned n = 0; n < 16; ++n) terminal.type("\x10");
  EXPECT_EQ(terminal.editor.line(), std::string_view("line24"));
  terminal.type("\x10");
  EXPECT_EQ(terminal.editor.line(), std::string_view("line24"));
}

TEST(line_editor, a_recalled_line_takes_the_place_of_one_too_long) {
  Terminal& terminal = fresh_terminal();
  terminal.enter("held");
  for (std::size_t i = 0; i <= LineEditor::kMostBytes; ++i) terminal.type("x");
  terminal.type("\x10");
  EXPECT(terminal.type("\r") == Event::line);
  EXPECT_EQ(terminal.editor.line(), std::string_view("held"));
}

TEST(line_editor, completes_the_first_word) {
  struct Case {
    std::string_view typed;
    std::string_view line;
    std::string_view shown;  // by the tab
  };
  for (const Case& one : {
           Case{"a", "alloc ", "lloc "}, Case{"  fra", "  frames ", "mes "},
           Case{"f", "fr", "r\n  frames\n  free\n> fr"}, Case{"hel", "hel", "\n  held\n  help\n> hel"},
           Case{"help", "help ", " "},                              // whole
           Case{"x", "x ", " "},                                    // no name begins so
           Case{"", " ", " "},                                      // a tab in text from elsewhere
           Case{"  ", "   ", " "}, Case{"help f", "help f ", " "},  // not the first word
       }) {
    Terminal& terminal = fresh_terminal();
    terminal.type(one.typed);
    terminal.screen.clear();
    terminal.type("\t");
    EXPECT_EQ(terminal.editor.line(), one.line);
    EXPECT_EQ(terminal.screen.view(), one.shown);
  }
  Terminal& terminal = fresh_terminal();
  terminal.type("al\x02\t");  // the cursor is inside of the word
  EXPECT_EQ(terminal.editor.line(), std::string_view("a l"));
}
