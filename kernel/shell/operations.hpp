// run_operations: what the commands share that perform many operations of one line: `pages`, `objects`, `tables`.
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "kernel/shell/call.hpp"
#include "kernel/shell/changing.hpp"
#include "mm/base/result.hpp"
#include "mm/stats/inspector.hpp"

namespace kernel::shell {

// The errors of one line of operations, in order, and each one's words once: several share one errno.
class Failures {
 public:
  static constexpr std::size_t kMost =
      512;  // a reply has 16 KiB, and the longest failure needs 22 bytes of it

  void add(memory::Error error) { errors_[count_++] = error; }

  void describe(memory::Inspector& out) const {
    out.begin_array("errors", memory::Layout::row);
    for (std::size_t n = 0; n < count_; ++n) out.text("", memory::name_of(errors_[n]));
    out.end_array();
    out.begin_object("texts", memory::Layout::lines);
    std::uint32_t told = 0;  // a bit for each Error
    for (std::size_t n = 0; n < count_; ++n) {
      const std::uint32_t bit = std::uint32_t{1} << static_cast<unsigned>(errors_[n]);
      if ((told & bit) == 0) out.text(memory::name_of(errors_[n]), memory::text_of(errors_[n]));
      told |= bit;
    }
    out.end_object();
  }

 private:
  std::array<memory::Error, kMost> errors_{};
  std::size_t count_ = 0;
};

// Calls body(word) for each word of `text` until it says no; whether it never did.
template <typename Body>
bool for_each_word(std::string_view text, Body&& body) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (end > 0 && !body(text.substr(0, end))) return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

// In a frame of its own: with the room of Failures it is more than a function may have.
template <typename Parse, typename Perform>
[[gnu::noinline]] void perform_words(Call& call, Failures& failures, Parse parse, Perform perform) {
  const Changing changing;
  for_each_word(call.rest(), [&](std::string_view word) {
    const memory::Result<std::int64_t> done = perform(*parse(word));
    if (!done.ok()) failures.add(done.error());
    call.out().number("", done.ok() ? done.take() : -memory::errno_of(done.error()), memory::Unit::none);
    return true;
  });
}

// Performs what the words say, one after the other. parse(word) returns a std::optional; perform(*parse(word)) a
// Result<std::int64_t> that is not negative. Every word is checked before the first is performed, so a wrong one changes
// nothing; `expected` is what it should have been.
template <typename Parse, typename Perform>
Status run_operations(Call& call, std::string_view expected, Parse parse, Perform perform) {
  std::size_t count = 0;
  const bool good = for_each_word(call.rest(), [&](std::string_view word) {
    ++count;
    if (parse(word)) return true;
    call.error().text("expected ").text(expected).text(", not ").quoted(word);
    return false;
  });
  if (!good) return Status::invalid;
  if (count > Failures::kMost) {
    call.error().text("at most ").number(Failures::kMost).text(" operations at once, not ").number(count);
    return Status::too_big;
  }
  Failures failures;
  call.out().begin_object("", memory::Layout::lines);
  call.out().begin_array("results", memory::Layout::row);
  perform_words(call, failures, parse, perform);
  call.out().end_array();
  failures.describe(call.out());
  call.out().end_object();
  return Status::success;
}

}  // namespace kernel::shell
