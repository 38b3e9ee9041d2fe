// ListText: an Inspector for people that shows short lists of texts in fixed columns, with no line of keys.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/format.hpp"
#include "mm/stats/inspector.hpp"

namespace kernel::shell {

// For `help` and its like: every object of an array is a line, its first two texts have columns, the last is
// as long as it likes. Numbers outside of arrays are not shown.
class ListText final : public memory::Inspector {
 public:
  explicit ListText(memory::Sink& sink) : sink_(sink) {}

  void begin_object(std::string_view, memory::Layout) override { columns_ = 0, written_ = 0; }
  void end_object() override {
    if (in_array_) sink_.write("\n");
  }
  void begin_array(std::string_view, memory::Layout) override { in_array_ = true; }
  void end_array() override { in_array_ = false; }
  void number(std::string_view name, std::int64_t value, memory::Unit) override {
    memory::TextBuffer<24> digits;
    digits.number(value);
    text(name, digits.view());
  }
  void hex(std::string_view name, std::uint64_t value) override {
    memory::TextBuffer<24> digits;
    digits.hex(value);
    text(name, digits.view());
  }
  void text(std::string_view, std::string_view value) override {
    constexpr std::size_t kStarts[] = {2, 18, 42};
    if (!in_array_) return;
    const std::size_t start = kStarts[columns_ < 2 ? columns_ : 2];
    do sink_.write(" ");
    while (++written_ < start);
    sink_.write(value);
    written_ += value.size();
    ++columns_;
  }

 private:
  memory::Sink& sink_;
  bool in_array_ = false;
  unsigned columns_ = 0;
  std::size_t written_ = 0;
};

}  // namespace kernel::shell
