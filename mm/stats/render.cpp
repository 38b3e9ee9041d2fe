// TextRenderer and JsonRenderer.
// SPDX-License-Identifier: MIT
#include "mm/stats/render.hpp"

#include <algorithm>

#include "mm/base/check.hpp"
#include "mm/base/format.hpp"

namespace memory {

namespace {

constexpr std::size_t kKeyWidth = 17;    // as /proc/meminfo: "MemTotal:       "
constexpr std::size_t kValueWidth = 8;   // "  223632 kB"
constexpr std::size_t kNumberWidth = 7;  // as /proc/buddyinfo: " %6lu"
constexpr std::size_t kNameWidth = 8;    // and "zone %8s"
constexpr std::size_t kIndentWidth = 9;  // as /proc/zoneinfo: "spanned  2048"

std::string_view suffix_of(Unit unit) {
  switch (unit) {
    case Unit::none: return "";
    case Unit::kib: return " kB";
    case Unit::frames: return " frames";
    case Unit::events: return "";
    case Unit::ns: return " ns";
    case Unit::instructions: return " instructions";
  }
  return "";
}

}  // namespace

// ---- for people -------------------------------------------------------------------------------------------
//
// The layout of the enclosing level decides how a value is written:
//   lines   "Key:            value unit\n"
//   row     values after each other; a nested array's numbers are columns
//   table   each object is a row of cells; the line of keys is written above the first
// Lines inside a row follow it, indented under their name, as in /proc/zoneinfo: "  pages free     1970".

TextRenderer::Level& TextRenderer::top() { return levels_[depth_ - 1]; }

void TextRenderer::push(Kind kind, Layout layout) {
  CHECK(depth_ < kDepth);
  levels_[depth_++] = {.kind = kind, .layout = layout};
}

void TextRenderer::pad(std::size_t used, std::size_t width) {
  for (; used < width; ++used) sink_.write(" ");
}

bool TextRenderer::in_row() const {
  return depth_ > 0 && levels_[depth_ - 1].kind == Kind::object && levels_[depth_ - 1].layout == Layout::row;
}

bool TextRenderer::in_table_row() const {
  return depth_ >= 2 && levels_[depth_ - 2].kind == Kind::array &&
         levels_[depth_ - 2].layout == Layout::table;
}

void TextRenderer::begin_object(std::string_view name, Layout layout) {
  const bool follows_row = in_row() && layout == Layout::lines;
  if (follows_row) {
    sink_.write("\n");
    top().ended = true;
  } else if (depth_ > 0 && !name.empty() && top().layout == Layout::lines) {
    sink_.write(name);
    sink_.write("\n");
  }
  push(Kind::object, layout);
  if (follows_row) top().indented = name;
  columns_ = 0;
}

void TextRenderer::end_object() {
  const bool ends_line = in_row() && !top().ended;
  const bool is_table_row = in_table_row();
  --depth_;
  if (is_table_row) {
    end_table_row();
  } else if (ends_line) {
    sink_.write("\n");
  }
}

void TextRenderer::begin_array(std::string_view name, Layout layout) {
  if (depth_ > 0 && !name.empty() && top().layout == Layout::lines) {
    sink_.write(name);
    sink_.write(layout == Layout::row ? ":" : "\n");
  }
  push(Kind::array, layout);
  table_head_due_ = layout == Layout::table;
}

void TextRenderer::end_array() {
  const bool ends_line =
      top().layout == Layout::row && (depth_ < 2 || levels_[depth_ - 2].layout != Layout::row);
  --depth_;
  if (ends_line) sink_.write("\n");
}

void TextRenderer::number(std::string_view name, std::int64_t value, Unit unit) {
  TextBuffer<24> digits;
  digits.number(value);
  this->value(name, digits.view(), suffix_of(unit), Align::right);
}

void TextRenderer::hex(std::string_view name, std::uint64_t value) {
  TextBuffer<24> digits;
  digits.hex(value);
  this->value(name, digits.view(), "", Align::right);
}

void TextRenderer::text(std::string_view name, std::string_view value) {
  this->value(name, value, "", Align::left);
}

void TextRenderer::value(std::string_view name, std::string_view value, std::string_view suffix,
                         Align align) {
  CHECK(depth_ > 0);
  Level& level = top();
  if (in_table_row()) return cell(name, value);
  if (level.kind == Kind::array) {
    if (value.size() >= kNumberWidth) sink_.write(" ");
    pad(value.size(), kNumberWidth);
    sink_.write(value);
  } else if (level.layout == Layout::row) {
    if (level.items > 0) sink_.write(", ");
    sink_.write(name);
    sink_.write(" ");
    if (align == Align::left) pad(value.size(), kNameWidth);  // a name's column, as in /proc/buddyinfo
    sink_.write(value);
  } else if (!level.indented.empty()) {
    sink_.write("  ");
    if (level.items == 0) sink_.write(level.indented);
    pad(level.items == 0 ? level.indented.size() : 0, level.indented.size() + 1);
    sink_.write(name);
    pad(name.size(), kIndentWidth);
    if (name.size() >= kIndentWidth) sink_.write(" ");
    sink_.write(value);
    sink_.write("\n");
  } else {
    sink_.write(name);
    sink_.write(":");
    pad(name.size() + 1, kKeyWidth);
    if (align == Align::right) pad(value.size(), kValueWidth);
    sink_.write(value);
    sink_.write(suffix);
    sink_.write("\n");
  }
  ++level.items;
}

void TextRenderer::Cells::keep(unsigned column, std::string_view text) {
  const std::size_t start = column == 0 ? 0 : ends[column - 1];
  const std::size_t size = std::min(text.size(), kBytes - start);
  text.copy(bytes + start, size);
  ends[column] = static_cast<std::uint8_t>(start + size);
}

std::string_view TextRenderer::Cells::operator[](unsigned column) const {
  const std::size_t start = column == 0 ? 0 : ends[column - 1];
  return {bytes + start, ends[column] - start};
}

void TextRenderer::cell(std::string_view name, std::string_view value) {
  CHECK(columns_ < kColumns);
  if (table_head_due_) head_.keep(columns_, name);
  cells_.keep(columns_, value);
  ++columns_;
}

// A column is as wide as its key or its value in the first row; a longer value later only shifts its line.
void TextRenderer::end_table_row() {
  const auto line = [this](const Cells& cells) {
    for (unsigned column = 0; column < columns_; ++column) {
      sink_.write("  ");
      pad(cells[column].size(), widths_[column]);
      sink_.write(cells[column]);
    }
    sink_.write("\n");
  };
  if (table_head_due_) {
    for (unsigned column = 0; column < columns_; ++column)
      widths_[column] =
          static_cast<std::uint8_t>(std::max({head_[column].size(), cells_[column].size(), kNumberWidth}));
    line(head_);
  }
  table_head_due_ = false;
  line(cells_);
}

// ---- for programs -----------------------------------------------------------------------------------------

void write_json_string(Sink& sink, std::string_view value) {
  sink.write("\"");
  for (const char character : value) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
      sink.write({&character, 1});
      continue;
    }
    constexpr char kDigits[] = "0123456789abcdef";
    const char escape[] = {'\\', 'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 0xf]};
    sink.write({escape, sizeof escape});
  }
  sink.write("\"");
}

void JsonRenderer::key(std::string_view name) {
  if (comma_) sink_.write(",");
  comma_ = true;
  if (name.empty()) return;
  write_json_string(sink_, name);
  sink_.write(":");
}

void JsonRenderer::begin_object(std::string_view name, Layout) {
  key(name);
  sink_.write("{");
  comma_ = false;
}

void JsonRenderer::end_object() {
  sink_.write("}");
  comma_ = true;
}

void JsonRenderer::begin_array(std::string_view name, Layout) {
  key(name);
  sink_.write("[");
  comma_ = false;
}

void JsonRenderer::end_array() {
  sink_.write("]");
  comma_ = true;
}

void JsonRenderer::number(std::string_view name, std::int64_t value, Unit) {
  key(name);
  TextBuffer<24> digits;
  digits.number(value);
  sink_.write(digits.view());
}

void JsonRenderer::hex(std::string_view name, std::uint64_t value) {
  key(name);
  TextBuffer<24> digits;
  digits.hex(value);
  write_json_string(sink_, digits.view());
}

void JsonRenderer::text(std::string_view name, std::string_view value) {
  key(name);
  write_json_string(sink_, value);
}

}  // namespace memory
