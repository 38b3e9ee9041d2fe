// Call: one command as it was typed, and the places where it puts values, progress and its error.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "mm/base/format.hpp"
#include "mm/base/result.hpp"
#include "mm/stats/inspector.hpp"

namespace kernel::shell {

// How a command ended: 0, or Linux's errno.
enum class [[nodiscard]] Status : std::int32_t {
  success = 0,
  not_found = 2,
  interrupted = 4,
  too_big = 7,
  no_memory = 12,
  busy = 16,
  invalid = 22,
  unknown_command = 38,
};
constexpr Status status_of(memory::Error error) { return static_cast<Status>(memory::errno_of(error)); }

// A command line cut into words at spaces. Points into the line.
class Words {
 public:
  static constexpr std::size_t kMost = 16;

  explicit Words(std::string_view line);

  // Words in the line; more than kMost are counted, but not kept.
  std::size_t count() const { return count_; }
  std::string_view operator[](std::size_t index) const { return words_[index]; }
  // The line from this word on, without the spaces around.
  std::string_view from(std::size_t index) const;
  // Takes a word away.
  void erase(std::size_t index);

 private:
  std::string_view line_;
  std::array<std::string_view, kMost> words_{};
  std::size_t count_ = 0;
};

class Call {
 public:
  // `words[0]` is the command's name. `progress`: text for a person who waits; null when a program asked.
  Call(const Words& words, memory::Inspector& out, memory::Writer& error, memory::Sink* progress)
      : words_(words), out_(out), error_(error), progress_(progress) {}
  Call(const Call&) = delete;

  std::string_view name() const { return words_[0]; }
  std::size_t arguments() const { return words_.count() - 1; }
  std::string_view argument(std::size_t index) const { return words_[index + 1]; }
  std::string_view rest() const { return words_.count() > 1 ? words_.from(1) : std::string_view{}; }

  // Where the command describes its values: one begin_object .. end_object, nothing on failure.
  memory::Inspector& out() { return out_; }
  // One line for a person; ignored when a program asked.
  void progress(std::string_view text);

  // The one line that says why the command fails. Begin with what was wrong, end with what to do.
  memory::Writer& error() { return error_; }
  // Sets "what", returns the status of `error`.
  Status fail(memory::Error error, std::string_view what);

  // Argument `index` as a number in [low, high], or nothing and the error is set. `what` names it in
  // capitals.
  std::optional<std::uint64_t> number(std::size_t index, std::string_view what, std::uint64_t low,
                                      std::uint64_t high);
  std::optional<std::uint64_t> number_in(std::string_view text, std::string_view what, std::uint64_t low,
                                         std::uint64_t high);

  // True when somebody pressed ^C; long commands look at it often, undo or keep what they did, and return
  // Status::interrupted.
  static bool interrupted();

 private:
  const Words& words_;
  memory::Inspector& out_;
  memory::Writer& error_;
  memory::Sink* progress_;
};

}  // namespace kernel::shell
