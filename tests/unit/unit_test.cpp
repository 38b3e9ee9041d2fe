// SPDX-License-Identifier: MIT
#include "tests/unit/unit.hpp"

#include "mm/base/check.hpp"

namespace {

// A test that is not on the list of those that run.
unit::Test unlisted(const char* suite, const char* name) {
  const unit::Test test{suite, name, nullptr, "", 0};
  unit::Test::first = test.next;
  return test;
}

std::string_view described(const auto& value) {
  static memory::TextBuffer<64> text;
  text.clear();
  unit::describe(text, value);
  return text.view();
}

}  // namespace

TEST(unit, a_filter_is_a_suite_a_test_or_their_beginning) {
  const unit::Test test = unlisted("buddy", "merges_back");
  for (const std::string_view yes : {"", "buddy", "bud", "buddy.", "buddy.merges_back", "buddy.mer"})
    EXPECT(test.matches(yes));
  for (const std::string_view no : {"x", "buddyx", "merges_back", "buddy.x", "buddy.merges_back_x", "buddy-"})
    EXPECT(!test.matches(no));
}

TEST(unit, tests_run_by_suite_then_name) {
  EXPECT(unlisted("a", "z").before(unlisted("b", "a")));
  EXPECT(unlisted("a", "a").before(unlisted("a", "b")));
  EXPECT(!unlisted("a", "a").before(unlisted("a", "a")));
  EXPECT(!unlisted("b", "a").before(unlisted("a", "z")));
  for (const unit::Test* at = unit::Test::first; at->next != nullptr; at = at->next)
    EXPECT(!at->next->before(*at));
}

TEST(unit, a_failure_shows_what_it_compared) {
  EXPECT_EQ(described(7), std::string_view("7"));
  EXPECT_EQ(described(-7), std::string_view("-7"));
  EXPECT_EQ(described(255u), std::string_view("255 (0xff)"));
  EXPECT_EQ(described(true), std::string_view("true"));
  EXPECT_EQ(described(std::string_view("ab")), std::string_view("\"ab\""));
  EXPECT_EQ(described(memory::Error::busy), std::string_view("busy"));
  EXPECT_EQ(described(memory::PhysAddr{0x1000}), std::string_view("0x1000"));
  EXPECT_EQ(described(memory::FrameNumber{16}), std::string_view("16 (0x10)"));
  EXPECT_EQ(described(nullptr), std::string_view("null"));
}

TEST(unit, a_panic_gives_its_reason) {
  EXPECT_PANIC(memory::platform::panic("on purpose"), "on purpose");
  EXPECT_PANIC(CHECK(1 + 1 == 3), "CHECK(1 + 1 == 3) failed");
  const auto quiet = [](void*) {};
  EXPECT(unit::caught_panic(quiet, nullptr).empty());
  int reached = 0;
  EXPECT_PANIC(CHECK(++reached == 0), "CHECK");
  EXPECT_EQ(reached, 1);
}

// Without this a frame that lets everything pass would pass.
TEST(unit, each_statement_can_fail) {
  EXPECT(unit::failures_in([] { EXPECT(1 == 2); }) == 1);
  EXPECT(unit::failures_in([] { EXPECT_EQ(1, 2); }) == 1);
  EXPECT(unit::failures_in([] { ASSERT(1 == 2); }) == 1);
  EXPECT(unit::failures_in([] { EXPECT_PANIC((void)0, ""); }) == 1);
  EXPECT(unit::failures_in([] { EXPECT_PANIC(memory::platform::panic("one reason"), "another"); }) == 1);
}

TEST(unit, a_failed_assertion_ends_its_test) {
  bool went_on = false;
  const unsigned failures = unit::failures_in([&] {
    EXPECT(1 == 2);
    ASSERT(1 == 2);
    went_on = true;
  });
  EXPECT_EQ(failures, 2u);
  EXPECT(!went_on);
}
