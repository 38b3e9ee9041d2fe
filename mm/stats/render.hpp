// The two renderings of an Inspector's calls: columns for people, JSON for programs.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/stats/inspector.hpp"

namespace memory {

// For people, in the column layout of Linux's /proc files.
class TextRenderer final : public Inspector {
 public:
  explicit TextRenderer(Sink& sink) : sink_(sink) {}

  void begin_object(std::string_view name, Layout layout) override;
  void end_object() override;
  void begin_array(std::string_view name, Layout layout) override;
  void end_array() override;
  void number(std::string_view name, std::int64_t value, Unit unit) override;
  void hex(std::string_view name, std::uint64_t value) override;
  void text(std::string_view name, std::string_view value) override;

 private:
  enum class Kind : std::uint8_t { object, array };
  enum class Align : std::uint8_t { left, right };
  struct Level {
    Kind kind = Kind::object;
    Layout layout = Layout::lines;
    bool ended = false;  // a row whose line is over, because lines followed it
    std::uint32_t items = 0;
    std::string_view indented{};  // the name that lines after a row stand under
  };
  static constexpr unsigned kDepth = 8;
  static constexpr unsigned kColumns = 12;

  // The cells of one row, one after another; what finds no room is cut.
  struct Cells {
    static constexpr unsigned kBytes = 192;

    char bytes[kBytes];
    std::uint8_t ends[kColumns];

    void keep(unsigned column, std::string_view text);
    std::string_view operator[](unsigned column) const;
  };

  Level& top();
  bool in_row() const;
  bool in_table_row() const;
  void push(Kind kind, Layout layout);
  void value(std::string_view name, std::string_view digits, std::string_view suffix, Align align);
  void cell(std::string_view name, std::string_view value);
  void end_table_row();
  void pad(std::size_t used, std::size_t width);

  Sink& sink_;
  Level levels_[kDepth] = {};
  unsigned depth_ = 0;
  bool table_head_due_ = false;  // the keys of a table are known when its first row ends
  Cells head_{};
  Cells cells_{};
  std::uint8_t widths_[kColumns] = {};
  unsigned columns_ = 0;
};

// For programs: one line of JSON (RFC 8259), no white space, every byte of a text that is not printable ASCII
// escaped.
class JsonRenderer final : public Inspector {
 public:
  explicit JsonRenderer(Sink& sink) : sink_(sink) {}

  void begin_object(std::string_view name, Layout layout) override;
  void end_object() override;
  void begin_array(std::string_view name, Layout layout) override;
  void end_array() override;
  void number(std::string_view name, std::int64_t value, Unit unit) override;
  void hex(std::string_view name, std::uint64_t value) override;
  void text(std::string_view name, std::string_view value) override;

 private:
  void key(std::string_view name);

  Sink& sink_;
  bool comma_ = false;
};

// Writes `value` as a JSON string with its quotes.
void write_json_string(Sink& sink, std::string_view value);

}  // namespace memory
