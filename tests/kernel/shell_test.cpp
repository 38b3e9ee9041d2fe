// SPDX-License-Identifier: MIT
#include "kernel/shell/call.hpp"
#include "kernel/shell/command.hpp"
#include "kernel/shell/record.hpp"
#include "kernel/shell/reply.hpp"
#include "tests/unit/unit.hpp"

using namespace kernel::shell;

namespace {

Reply& fresh_reply() {
  static constinit Reply reply;
  reply.clear();
  return reply;
}

std::string_view answer(std::string_view line, std::size_t room = Reply::kMostBytes) {
  Reply& reply = fresh_reply();
  reply.set_limit(room);
  run_for_program(line, reply);
  return reply.view();
}

}  // namespace

TEST(words, are_cut_at_spaces_and_tabs) {
  const Words words("  alloc\t3   2 ");
  EXPECT_EQ(words.count(), 3u);
  EXPECT_EQ(words[0], std::string_view("alloc"));
  EXPECT_EQ(words[2], std::string_view("2"));
  EXPECT_EQ(words.from(1), std::string_view("3   2"));
  EXPECT_EQ(Words("").count(), 0u);
  EXPECT_EQ(Words(" \t ").count(), 0u);
}

TEST(words, more_than_fit_are_counted) {
  Words words("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18");
  EXPECT_EQ(words.count(), 18u);
  words.erase(0);
  EXPECT_EQ(words[0], std::string_view("2"));
  EXPECT_EQ(words.count(), 17u);
}

TEST(shell, commands_are_sorted_and_explained) {
  std::string_view before;
  for (const Command& command : commands()) {
    EXPECT(before < command.name);
    EXPECT(!command.help.empty() && command.help.size() < 60);
    EXPECT(command.least <= command.most);
    before = command.name;
  }
}

TEST(shell, answers_programs_in_json) {
  EXPECT_EQ(answer("nosuch"),
            std::string_view("{\"status\":38,\"error\":\"unknown command 'nosuch'; try 'help'\"}"));
  EXPECT_EQ(answer(""), std::string_view("{\"status\":22,\"error\":\"an empty line is no command\"}"));
  EXPECT_EQ(answer("held").substr(0, 21), std::string_view("{\"status\":0,\"value\":{"));
  EXPECT_EQ(answer("held --json"), answer("held"));
}

TEST(shell, what_does_not_fit_becomes_a_short_failure) {
  const std::string_view text = answer("help", kFailureBytes);
  EXPECT_EQ(text.substr(0, 12), std::string_view("{\"status\":7,"));
  EXPECT_EQ(text.back(), '}');
  // Forty escapes make the reason itself too long.
  const std::string_view bad = answer(
      "\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"
      "\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01",
      kFailureBytes);
  EXPECT_EQ(bad, std::string_view("{\"status\":38,\"error\":\"no room left in the reply for the reason\"}"));
}

TEST(shell, a_reply_is_taken_back_to_its_mark) {
  Reply& reply = fresh_reply();
  reply.set_limit(6);
  reply.write("abc");
  const std::size_t mark = reply.mark();
  reply.write("defg");
  EXPECT(reply.overflowed());
  reply.write("h");  // after the overflow nothing is taken, or a hole would not show
  EXPECT_EQ(reply.view(), std::string_view("abc"));
  reply.rewind(mark);
  reply.write("def");
  EXPECT(!reply.overflowed());
  EXPECT_EQ(reply.view(), std::string_view("abcdef"));
}

TEST(record, its_check_sum_is_zlib_crc32) {
  EXPECT_EQ(crc32(0, "123456789", 9), 0xcbf43926u);
  EXPECT_EQ(crc32(crc32(0, "12345", 5), "6789", 4), 0xcbf43926u);
  EXPECT_EQ(crc32(0, "", 0), 0u);
}
