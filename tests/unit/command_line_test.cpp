// The kernel command line: words, values, numbers, choices, and what is said about bad ones.
// SPDX-License-Identifier: MIT
#include "boot/command_line.hpp"

#include "tests/unit/unit.hpp"

using boot::CommandLine;
using memory::Error;

TEST(command_line, finds_words_and_values) {
  constexpr CommandLine line("quiet  seed=7\tname= la57=off seed=0x10 =odd key==x");
  EXPECT(line.flag("quiet"));
  EXPECT(!line.flag("qui") && !line.flag("seed") && !line.flag("quiet ") && !line.flag(""));
  EXPECT_EQ(line.value("seed").take(), "0x10");  // the last one
  EXPECT(line.value("name").ok() && line.value("name").take().empty());
  EXPECT_EQ(line.value("key").take(), "=x");
  EXPECT_EQ(line.value("see").error(), Error::not_found);
  EXPECT_EQ(line.value("quiet").error(), Error::not_found);
  EXPECT_EQ(CommandLine("").value("seed").error(), Error::not_found);
  EXPECT(!CommandLine("   ").flag(""));
  EXPECT(!CommandLine(std::string_view("seed=7", 4)).value("seed").ok());  // what lies behind is not the text
}

TEST(command_line, reads_numbers) {
  constexpr CommandLine line("a=12 b=0xFf c=16M d=1g e=18446744073709551616 f=12x g= h=-1");
  EXPECT_EQ(line.number("a").take(), 12u);
  EXPECT_EQ(line.number("b").take(), 255u);
  EXPECT_EQ(line.number("c").take(), 16u << 20);
  EXPECT_EQ(line.number("d").take(), 1u << 30);
  EXPECT_EQ(line.number("e").error(), Error::too_big);
  EXPECT_EQ(line.number("f").error(), Error::invalid);
  EXPECT_EQ(line.number("g").error(), Error::invalid);
  EXPECT_EQ(line.number("h").error(), Error::invalid);
  EXPECT_EQ(line.number("i").error(), Error::not_found);

  memory::TextBuffer<128> text;
  line.describe_bad_number(text, "f");
  EXPECT_EQ(text.view(),
            "f='12x' is not a number: write it decimal or as 0x..., then at most one of K, M, G");
  text.clear();
  line.describe_bad_number(text, "e");
  EXPECT_EQ(text.view(), "e='18446744073709551616' is too large a number: it must be below 2^64");
}

TEST(command_line, knows_choices) {
  constexpr std::string_view kChoices[] = {"panic", "refuse", "ignore"};
  constexpr CommandLine line("on_misuse=refuse mood=bad");
  EXPECT_EQ(line.choice("on_misuse", kChoices).take(), 1u);
  EXPECT_EQ(line.choice("mood", kChoices).error(), Error::invalid);
  EXPECT_EQ(line.choice("other", kChoices).error(), Error::not_found);

  memory::TextBuffer<128> text;
  line.describe_bad_choice(text, "mood", kChoices);
  EXPECT_EQ(text.view(), "mood='bad' is unknown: choose panic, refuse or ignore");
}

TEST(command_line, walks_from_left_to_right) {
  unsigned words = 0;
  memory::TextBuffer<32> text;
  CommandLine(" a bb\t\tccc ").for_each_word([&](std::string_view word) {
    ++words;
    text.text(word).character('|');
  });
  EXPECT_EQ(words, 3u);
  EXPECT_EQ(text.view(), "a|bb|ccc|");
}
