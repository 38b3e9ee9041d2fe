// CommandLine: the words of the kernel command line, `flag` and `key=value`.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "mm/base/format.hpp"
#include "mm/base/result.hpp"

namespace boot {

// Words are separated by spaces and tabs; there is no quoting. Where a key comes twice, the last one counts.
// Shows the text that it was given, which must outlive it and every value taken from it.
class CommandLine {
 public:
  constexpr explicit CommandLine(std::string_view text) : text_(text) {}

  // Whether the bare word is there.
  bool flag(std::string_view word) const;
  // What follows `key=`; may be empty. Fails with not_found.
  memory::Result<std::string_view> value(std::string_view key) const;
  // The value as a number: decimal or 0x..., then at most one of K M G. Fails with not_found, invalid, or
  // too_big when it needs more than 64 bits.
  memory::Result<std::uint64_t> number(std::string_view key) const;
  // The place of the value among `choices`. Fails with not_found, or invalid when it is none of them.
  memory::Result<std::size_t> choice(std::string_view key, std::span<const std::string_view> choices) const;

  // One clause for people about a value that number() or choice() refused.
  void describe_bad_number(memory::Writer& out, std::string_view key) const;
  void describe_bad_choice(memory::Writer& out, std::string_view key,
                           std::span<const std::string_view> choices) const;

  // visit(std::string_view word) for each word from left to right.
  template <typename Visit>
  constexpr void for_each_word(Visit visit) const {
    std::size_t first = 0;
    for (std::size_t i = 0; i <= text_.size(); ++i) {
      if (i < text_.size() && text_[i] != ' ' && text_[i] != '\t') continue;
      if (i > first) visit(std::string_view(text_.data() + first, i - first));
      first = i + 1;
    }
  }

 private:
  std::string_view text_;
};

}  // namespace boot
