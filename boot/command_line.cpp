// Looking words up, one pass over the text for each question: it is asked a few times at boot.
// SPDX-License-Identifier: MIT
#include "boot/command_line.hpp"

namespace boot {

using memory::Error;
using memory::Result;

bool CommandLine::flag(std::string_view wanted) const {
  bool found = false;
  for_each_word([&](std::string_view word) { found = found || word == wanted; });
  return found;
}

Result<std::string_view> CommandLine::value(std::string_view key) const {
  bool found = false;
  std::string_view last;
  for_each_word([&](std::string_view word) {
    if (!word.starts_with(key) || word.size() == key.size() || word[key.size()] != '=') return;
    found = true;
    word.remove_prefix(key.size() + 1);
    last = word;
  });
  if (!found) return Error::not_found;
  return last;
}

Result<std::uint64_t> CommandLine::number(std::string_view key) const {
  return memory::parse_number(TRY(value(key)));
}

Result<std::size_t> CommandLine::choice(std::string_view key,
                                        std::span<const std::string_view> choices) const {
  const std::string_view chosen = TRY(value(key));
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (choices[i] == chosen) return i;
  }
  return Error::invalid;
}

void CommandLine::describe_bad_number(memory::Writer& out, std::string_view key) const {
  const Result<std::string_view> text = value(key);
  out.text(key).text("=").quoted(text.ok() ? text.take() : std::string_view{});
  if (number(key).error() == Error::too_big) {
    out.text(" is too large a number: it must be below 2^64");
  } else {
    out.text(" is not a number: write it decimal or as 0x..., then at most one of K, M, G");
  }
}

void CommandLine::describe_bad_choice(memory::Writer& out, std::string_view key,
                                      std::span<const std::string_view> choices) const {
  const Result<std::string_view> text = value(key);
  out.text(key).text("=").quoted(text.ok() ? text.take() : std::string_view{}).text(" is unknown: choose ");
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (i > 0 && i + 1 < choices.size()) out.text(", ");
    if (i > 0 && i + 1 == choices.size()) out.text(" or ");
    out.text(choices[i]);
  }
}

}  // namespace boot
