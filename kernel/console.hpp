// The console: text for people on COM1.
// SPDX-License-Identifier: MIT
#pragma once
#include <string_view>

#include "mm/base/format.hpp"
#include "mm/stats/inspector.hpp"

namespace kernel {

// Writes `text`; every "\n" becomes "\r\n". Takes no lock; any context.
void print(std::string_view text);
inline void print(const memory::Writer& text) { print(text.view()); }

// The console as a place where renderers write.
class ConsoleSink final : public memory::Sink {
 public:
  void write(std::string_view text) override { print(text); }
};

// Formats one line of at most 240 characters and prints it:  Line().text("took ").number(3);
class Line : public memory::TextBuffer<240> {
 public:
  Line() = default;
  ~Line() {
    print(view());
    print("\n");
  }
};

}  // namespace kernel
