// SPDX-License-Identifier: MIT
#include "kernel/shell/call.hpp"

#include "kernel/drivers/serial.hpp"

namespace kernel::shell {

Words::Words(std::string_view line) : line_(line) {
  std::size_t at = 0;
  while (at < line.size()) {
    if (line[at] == ' ' || line[at] == '\t') {
      ++at;
      continue;
    }
    const std::size_t first = at;
    while (at < line.size() && line[at] != ' ' && line[at] != '\t') ++at;
    if (count_ < kMost) words_[count_] = line.substr(first, at - first);
    ++count_;
  }
}

std::string_view Words::from(std::size_t index) const {
  const auto skipped = static_cast<std::size_t>(words_[index].data() - line_.data());
  std::string_view rest = line_.substr(skipped);
  while (!rest.empty() && (rest.back() == ' ' || rest.back() == '\t')) rest.remove_suffix(1);
  return rest;
}

void Words::erase(std::size_t index) {
  for (std::size_t i = index; i + 1 < count_ && i + 1 < kMost; ++i) words_[i] = words_[i + 1];
  --count_;
}

void Call::progress(std::string_view text) {
  if (progress_ == nullptr) return;
  progress_->write(text);
  progress_->write("\n");
}

Status Call::fail(memory::Error error, std::string_view what) {
  error_.text(what);
  return status_of(error);
}

std::optional<std::uint64_t> Call::number(std::size_t index, std::string_view what, std::uint64_t low,
                                          std::uint64_t high) {
  return number_in(argument(index), what, low, high);
}

std::optional<std::uint64_t> Call::number_in(std::string_view text, std::string_view what, std::uint64_t low,
                                             std::uint64_t high) {
  const auto parsed = memory::parse_number(text);
  if (parsed.ok() && parsed.take() >= low && parsed.take() <= high) return parsed.take();
  error_.text(what).text(" must be a number from ").number(low).text(" to ");
  if (high > 0xffff'ffff)
    error_.hex(high);
  else
    error_.number(high);
  error_.text(", not ");
  error_.quoted(text);
  return std::nullopt;
}

bool Call::interrupted() { return com1.attention_seen(); }

}  // namespace kernel::shell
