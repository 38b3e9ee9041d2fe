// SPDX-License-Identifier: MIT
#include "mm/base/format.hpp"

#include "mm/base/random.hpp"
#include "tests/unit/unit.hpp"

using namespace memory;
using std::string_view;

namespace {

string_view size_text(std::uint64_t bytes) {
  static TextBuffer<32> text;
  text.clear();
  return text.size(bytes).view();
}

}  // namespace

TEST(format, quotes_what_would_harm_a_terminal) {
  TextBuffer<200> text;
  text.quoted("a\x1b[2J\xff")
      .quoted("0123456789012345678901234567890123456789")
      .quoted("01234567890123456789012345678901234567890");
  EXPECT_EQ(text.view(), string_view("'a\\x1b[2J\\xff'"
                                     "'0123456789012345678901234567890123456789'"
                                     "'0123456789012345678901234567890123456789...'"));
}

TEST(format, writes_numbers_to_their_limits) {
  TextBuffer<96> text;
  text.number(0).character(' ').number(-1).character(' ').number(~std::uint64_t{0});
  text.character(' ')
      .number(std::int64_t{-0x7fff'ffff'ffff'ffff} - 1)
      .character(' ')
      .number(std::uint8_t{200});
  EXPECT_EQ(text.view(), string_view("0 -1 18446744073709551615 -9223372036854775808 200"));
  EXPECT(!text.truncated());
}

TEST(format, writes_hex_with_at_least_so_many_digits) {
  TextBuffer<96> text;
  text.hex(0).character(' ').hex(0xbeef).character(' ').hex(0xbeef, 8).character(' ').address(0xbeef);
  EXPECT_EQ(text.view(), string_view("0x0 0xbeef 0x0000beef 0x000000000000beef"));
  text.clear();
  EXPECT_EQ(text.hex(~std::uint64_t{0}, 99).view(), string_view("0xffffffffffffffff"));
}

TEST(format, columns_pad_and_never_cut) {
  TextBuffer<96> text;
  text.text("MemTotal:", left(16)).number(1024, right(8)).text(" kB|");
  text.number(-7, right(5, '0')).character('|').number(123456, right(3)).text("|ab|", left(6, '.'));
  EXPECT_EQ(text.view(), string_view("MemTotal:           1024 kB|-0007|123456|ab|.."));
}

TEST(format, pads_the_current_line) {
  TextBuffer<96> text;
  text.text("long line\nab").pad_to(5).text("c").pad_to(3).text("d");
  EXPECT_EQ(text.view(), string_view("long line\nab   cd"));
}

TEST(format, sizes_for_people) {
  EXPECT_EQ(size_text(0), string_view("0 B"));
  EXPECT_EQ(size_text(1023), string_view("1023 B"));
  EXPECT_EQ(size_text(4_KiB), string_view("4 KiB"));
  EXPECT_EQ(size_text(1536), string_view("1.5 KiB"));
  EXPECT_EQ(size_text(4_KiB + 1), string_view("4.0 KiB"));
  EXPECT_EQ(size_text(1_MiB - 1), string_view("1.0 MiB"));
  EXPECT_EQ(size_text(1_GiB * 5 / 2), string_view("2.5 GiB"));
  EXPECT_EQ(size_text(~std::uint64_t{0}), string_view("16.0 EiB"));
  EXPECT_EQ(size_text(1ull << 63), string_view("8 EiB"));
}

TEST(format, a_full_buffer_is_not_truncated) {
  TextBuffer<5> text;
  EXPECT_EQ(text.text("abcde").view(), string_view("abcde"));
  EXPECT(!text.truncated());
  EXPECT_EQ(text.room(), 0u);
}

TEST(format, truncation_is_marked_and_final) {
  char guarded[12] = "###########";
  Writer text(guarded + 1, 8);
  text.text("abcdefghi").text("z").number(7);
  EXPECT_EQ(text.view(), string_view("abcde..."));
  EXPECT(text.truncated());
  EXPECT(guarded[0] == '#' && guarded[9] == '#');
  text.clear();
  EXPECT_EQ(text.text("new").view(), string_view("new"));
  EXPECT(!text.truncated());
}

TEST(format, truncation_in_no_room_at_all) {
  char one = '#';
  Writer nothing(&one, 0);
  EXPECT(nothing.text("a").truncated() && nothing.view().empty() && one == '#');
  Writer tiny(&one, 1);
  EXPECT_EQ(tiny.text("ab").view(), string_view("."));
}

TEST(format, parses_numbers_with_base_and_suffix) {
  EXPECT_EQ(parse_number("0").take(), 0u);
  EXPECT_EQ(parse_number("0042").take(), 42u);
  EXPECT_EQ(parse_number("0x1F").take(), 31u);
  EXPECT_EQ(parse_number("0XfF").take(), 255u);
  EXPECT_EQ(parse_number("4K").take(), 4096u);
  EXPECT_EQ(parse_number("64m").take(), 64_MiB);
  EXPECT_EQ(parse_number("0x2G").take(), 2_GiB);
  EXPECT_EQ(parse_number("18446744073709551615").take(), ~std::uint64_t{0});
  EXPECT_EQ(parse_number("0xffffffffffffffff").take(), ~std::uint64_t{0});
  EXPECT_EQ(parse_number("17179869183G").take(), 0xffff'ffff'c000'0000u);
}

TEST(format, refuses_what_is_no_number) {
  constexpr string_view kWrong[] = {"",    " ",  "1 ", " 1", "-1",  "+1",  "0x",  "x1",  "0xg", "12a",
                                    "1.5", "1T", "K",  "KK", "1KK", "1MB", "0xK", "1_0", "1e3"};
  for (const string_view wrong : kWrong) {
    EXPECT_EQ(parse_number(wrong).error(), Error::invalid);
  }
}

TEST(format, detects_overflow_in_digits_and_suffix) {
  EXPECT_EQ(parse_number("18446744073709551616").error(), Error::too_big);
  EXPECT_EQ(parse_number("99999999999999999999999").error(), Error::too_big);
  EXPECT_EQ(parse_number("0x10000000000000000").error(), Error::too_big);
  EXPECT_EQ(parse_number("17179869184G").error(), Error::too_big);
  EXPECT_EQ(parse_number("18014398509481984K").error(), Error::too_big);
  EXPECT_EQ(parse_number("99999999999999999999999x").error(), Error::invalid);
}

TEST(format, what_is_written_is_read_back) {
  Random random{unit::seed()};
  TextBuffer<24> text;
  for (int turn = 0; turn < 1000; ++turn) {
    const std::uint64_t number = random.next() >> random.below(64);
    text.clear();
    ASSERT(parse_number(text.number(number).view()).take() == number);
    text.clear();
    ASSERT(parse_number(text.hex(number, random.below(18)).view()).take() == number);
  }
}
