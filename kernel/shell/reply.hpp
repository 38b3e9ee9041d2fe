// Reply: a bounded text that can be taken back to a mark. JSON for programs is built in one.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <string_view>

#include "mm/stats/inspector.hpp"

namespace kernel::shell {

class Reply final : public memory::Sink {
 public:
  static constexpr std::size_t kMostBytes = 16 * 1024;  // docs/formats.md, section 2

  constexpr Reply() = default;
  Reply(const Reply&) = delete;

  void clear() {
    used_ = 0;
    overflowed_ = false;
    limit_ = kMostBytes;
  }

  // Bytes beyond `limit` overflow. Keeps room for what must still follow.
  void set_limit(std::size_t limit) { limit_ = limit; }

  void write(std::string_view text) override {
    if (overflowed_ || text.size() > limit_ - used_) {
      overflowed_ = true;
      return;
    }
    __builtin_memcpy(text_ + used_, text.data(), text.size());
    used_ += text.size();
  }

  std::size_t mark() const { return used_; }
  void rewind(std::size_t mark) {
    used_ = mark;
    overflowed_ = false;
  }

  bool overflowed() const { return overflowed_; }
  std::string_view view() const { return {text_, used_}; }

 private:
  std::size_t used_ = 0;
  std::size_t limit_ = kMostBytes;
  bool overflowed_ = false;
  char text_[kMostBytes] = {};
};

}  // namespace kernel::shell
