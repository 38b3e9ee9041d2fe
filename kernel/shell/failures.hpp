// What the commands share that perform many operations of one line: its words, and what became of those that failed.
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <array>
#include <string_view>

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

}  // namespace kernel::shell
