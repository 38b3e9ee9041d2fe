// History: the last lines that were entered, and a walk through them.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <string_view>

namespace kernel::shell {

// Copies what it keeps. A walk begins at the line that is being typed (the draft), goes back in time by older() and
// returns to it by newer(). Both give null at their end; the walk then stays where it is.
class History {
 public:
  static constexpr std::size_t kMost = 16;
  static constexpr std::size_t kMostBytes = 1024;  // of a line; a longer one is not kept

  constexpr History() = default;
  History(const History&) = delete;

  // Ends the walk. Lines of nothing but spaces, and one that equals the last, are not kept.
  void add(std::string_view line);
  // `draft` is what stands in the line now; it is kept when the walk begins.
  const std::string_view* older(std::string_view draft);
  const std::string_view* newer();
  void end_walk() { steps_ = 0; }

 private:
  struct Line {
    std::array<char, kMostBytes> bytes{};
    std::size_t size = 0;

    void set(std::string_view text);
    constexpr std::string_view view() const { return {bytes.data(), size}; }
  };

  const std::string_view* show(const Line& line);
  // The line that was added `steps` lines ago; 1 is the last.
  Line& line(std::size_t steps) { return lines_[(next_ + kMost - steps) % kMost]; }

  std::array<Line, kMost> lines_{};
  Line draft_{};
  std::string_view shown_;
  std::size_t next_ = 0;   // where the next line goes
  std::size_t count_ = 0;  // of lines kept
  std::size_t steps_ = 0;  // into the past; 0: at the draft
};

}  // namespace kernel::shell
