// SPDX-License-Identifier: MIT
#include "mm/base/result.hpp"

#include "tests/unit/unit.hpp"

using namespace memory;

namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return Error::invalid;
  return number / 2;
}

Result<int> quarter(int number) {
  const int once = TRY(half(number));
  return half(once);
}

Result<void> even(int number) {
  TRY(half(number));
  return {};
}

Result<int*> only_even(int& number) {
  if (number % 2 != 0) return Error::not_found;
  return &number;
}

}  // namespace

TEST(result, carries_a_value_or_an_error) {
  EXPECT(half(6).ok());
  EXPECT_EQ(half(6).take(), 3);
  EXPECT_EQ(half(6).error(), Error::ok);
  EXPECT(!half(7).ok());
  EXPECT_EQ(half(7).error(), Error::invalid);
  EXPECT_EQ(half(0).take(), 0);
}

TEST(result, try_returns_the_first_error) {
  EXPECT_EQ(quarter(12).take(), 3);
  EXPECT_EQ(quarter(7).error(), Error::invalid);
  EXPECT_EQ(quarter(6).error(), Error::invalid);  // its half is odd
  EXPECT(even(4).ok());
  EXPECT_EQ(even(5).error(), Error::invalid);
}

TEST(result, a_pointer_and_an_error_share_a_word) {
  static_assert(sizeof(Result<int*>) == sizeof(int*));
  int number = 4;
  EXPECT(only_even(number).ok());
  EXPECT_EQ(only_even(number).take(), &number);
  EXPECT_EQ(only_even(number).error(), Error::ok);
  number = 5;
  EXPECT(!only_even(number).ok());
  EXPECT_EQ(only_even(number).error(), Error::not_found);
}

TEST(result, each_error_has_its_texts_and_errno) {
  EXPECT_EQ(name_of(Error::no_memory), std::string_view("no_memory"));
  EXPECT_EQ(text_of(Error::no_memory), std::string_view("out of memory"));
  EXPECT_EQ(errno_of(Error::ok), 0);
  EXPECT_EQ(errno_of(Error::no_memory), 12);
  EXPECT_EQ(errno_of(Error::interior_free), 22);
}

TEST(result, misuse_is_told_from_failure) {
  EXPECT(!is_misuse(Error::ok));
  EXPECT(!is_misuse(Error::too_big));
  EXPECT(is_misuse(Error::double_free));
  EXPECT(is_misuse(Error::interior_free));
}
