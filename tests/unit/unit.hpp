// TEST(suite, name): one test, two homes. The host runner (tests/unit/host_main.cpp) and the kernel's `ktest`
// both walk unit::Test::first, and the body does not know which machine it is on.
//
// So a body has no exceptions, no floating point, no hosted header, and no frame beyond 1 KiB (large models
// are static and reset at the start). A home answers four hooks: fail, caught_panic, seed, and running the
// list.
// SPDX-License-Identifier: MIT
#pragma once
#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "mm/base/format.hpp"
#include "mm/base/result.hpp"
#include "mm/base/types.hpp"

namespace unit {

// Registered by its constructor (a linker section would need alignment tricks that ASan breaks).
struct Test {
  const char* suite;
  const char* name;
  void (*body)();
  const char* file;
  int line;
  Test* next;

  Test(const char* suite_, const char* name_, void (*body_)(), const char* file_, int line_)
      : suite(suite_), name(name_), body(body_), file(file_), line(line_), next(first) {
    first = this;
  }

  bool before(const Test& other) const {
    const int suites = std::string_view(suite).compare(other.suite);
    return suites != 0 ? suites < 0 : std::string_view(name).compare(other.name) < 0;
  }

  // By suite, then name: the link order of the files must not decide what runs when. A home calls it once.
  static void sort() {
    Test* sorted = nullptr;
    while (first != nullptr) {
      Test* const moved = first;
      first = moved->next;
      Test** place = &sorted;
      while (*place != nullptr && !moved->before(**place)) place = &(*place)->next;
      moved->next = *place;
      *place = moved;
    }
    first = sorted;
  }

  // Chosen by a filter: "" all, "suite", "suite.name", or the beginning of one of them.
  bool matches(std::string_view filter) const {
    const std::string_view all = suite;
    if (all.substr(0, filter.size()) == filter) return true;
    if (filter.substr(0, all.size()) != all || filter.size() == all.size()) return false;
    filter.remove_prefix(all.size());
    if (filter[0] != '.') return false;
    return std::string_view(name).substr(0, filter.size() - 1) == filter.substr(1);
  }

  static inline Test* first = nullptr;
};

// -- the hooks

// The running test has failed; it goes on. `what` is copied or printed at once.
void fail(std::string_view what, const char* file, int line);

// Runs body(context). The reason of the panic that ended it, valid until the next call; empty when it came to
// its end. The held lock ranks are as before.
std::string_view caught_panic(void (*body)(void*), void* context);

// The seed of this run, printed with it. A random test makes its own Random from it.
std::uint64_t seed();

// -- what the macros need

inline unsigned* counted_failures = nullptr;  // where failures_in() counts; null: they are real

inline void report(std::string_view what, const char* file, int line) {
  if (counted_failures != nullptr) {
    ++*counted_failures;
  } else {
    fail(what, file, line);
  }
}

// How many EXPECTs of `body` fail, which are not reported: for tests of this frame and of helpers upon it.
template <typename Body>
unsigned failures_in(Body body) {
  unsigned count = 0;
  counted_failures = &count;
  body();
  counted_failures = nullptr;
  return count;
}

// A value of any type that EXPECT_EQ compares, as text.
template <typename T>
void describe(memory::Writer& out, const T& value) {
  using Plain = std::remove_cvref_t<T>;
  if constexpr (std::same_as<Plain, bool>) {
    out.text(value ? "true" : "false");
  } else if constexpr (std::same_as<Plain, memory::Error>) {
    out.text(memory::name_of(value));
  } else if constexpr (std::same_as<Plain, char>) {
    out.character('\'').character(value).character('\'');
  } else if constexpr (std::integral<Plain>) {
    out.number(value);
    if (value > 9) out.text(" (").hex(static_cast<std::uint64_t>(value)).text(")");
  } else if constexpr (std::is_enum_v<Plain>) {
    describe(out, static_cast<std::underlying_type_t<Plain>>(value));
  } else if constexpr (std::is_null_pointer_v<Plain>) {
    out.text("null");
  } else if constexpr (std::convertible_to<const T&, std::string_view>) {
    out.character('"').text(value).character('"');
  } else if constexpr (std::is_pointer_v<Plain>) {
    out.hex(reinterpret_cast<std::uintptr_t>(value));
  } else if constexpr (requires { std::uint64_t{value.value}; }) {  // an address
    out.hex(value.value);
  } else {
    out.text("?");
  }
}

template <typename Left, typename Right>
[[gnu::noinline]] void fail_equal(const char* what, const Left& left, const Right& right, const char* file,
                                  int line) {
  memory::TextBuffer<320> text;
  text.text(what).text(": ");
  describe(text, left);
  text.text(" is not ");
  describe(text, right);
  report(text.view(), file, line);
}

inline void expect_panic(void (*body)(void*), void* context, std::string_view needle, const char* what,
                         const char* file, int line) {
  const std::string_view reason = caught_panic(body, context);
  if (!reason.empty() && reason.find(needle) != std::string_view::npos) return;
  memory::TextBuffer<448> text;
  text.text(what);
  if (reason.empty()) {
    text.text(" did not panic; expected \"").text(needle).text("\"");
  } else {
    text.text(" panicked with \"").text(reason).text("\", expected \"").text(needle).text("\"");
  }
  report(text.view(), file, line);
}

template <typename Body>
void expect_panic(Body& body, std::string_view needle, const char* what, const char* file, int line) {
  expect_panic([](void* context) { (*static_cast<Body*>(context))(); }, &body, needle, what, file, line);
}

}  // namespace unit

#define TEST(suite, name)                                                                       \
  static void suite##_##name();                                                                 \
  static ::unit::Test test_##suite##_##name{#suite, #name, suite##_##name, __FILE__, __LINE__}; \
  static void suite##_##name()

// States something and goes on.
#define EXPECT(condition)                                             \
  do {                                                                \
    if (!(condition)) ::unit::report(#condition, __FILE__, __LINE__); \
  } while (false)

// States something without which the rest of the test makes no sense.
#define ASSERT(condition)                             \
  do {                                                \
    if (!(condition)) {                               \
      ::unit::report(#condition, __FILE__, __LINE__); \
      return;                                         \
    }                                                 \
  } while (false)

// Like EXPECT(left == right), and shows both values.
#define EXPECT_EQ(left, right)                                                            \
  do {                                                                                    \
    const auto& unit_left = (left);                                                       \
    const auto& unit_right = (right);                                                     \
    if (!(unit_left == unit_right))                                                       \
      ::unit::fail_equal(#left " == " #right, unit_left, unit_right, __FILE__, __LINE__); \
  } while (false)

// The statement panics, and the reason contains `needle`. Whatever the statement had in hand is lost.
#define EXPECT_PANIC(statement, needle)                                      \
  do {                                                                       \
    auto unit_body = [&] { statement; };                                     \
    ::unit::expect_panic(unit_body, needle, #statement, __FILE__, __LINE__); \
  } while (false)
