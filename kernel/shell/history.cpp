// SPDX-License-Identifier: MIT
#include "kernel/shell/history.hpp"

namespace kernel::shell {

void History::Line::set(std::string_view text) {
  __builtin_memcpy(bytes.data(), text.data(), text.size());
  size = text.size();
}

void History::add(std::string_view text) {
  end_walk();
  if (text.size() > kMostBytes || text.find_first_not_of(' ') == std::string_view::npos) return;
  if (count_ > 0 && line(1).view() == text) return;
  lines_[next_].set(text);
  next_ = (next_ + 1) % kMost;
  if (count_ < kMost) ++count_;
}

const std::string_view* History::show(const Line& line) {
  shown_ = line.view();
  return &shown_;
}

const std::string_view* History::older(std::string_view draft) {
  if (steps_ == count_) return nullptr;
  if (steps_ == 0) draft_.set(draft.size() <= kMostBytes ? draft : std::string_view{});
  return show(line(++steps_));
}

const std::string_view* History::newer() {
  if (steps_ == 0) return nullptr;
  return --steps_ == 0 ? show(draft_) : show(line(steps_));
}

}  // namespace kernel::shell
