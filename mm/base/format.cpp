// SPDX-License-Identifier: MIT
#include "mm/base/format.hpp"

namespace memory {

namespace {

constexpr std::string_view kCut = "...";
constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::size_t kMaxDigits = 20;  // of 2^64 - 1

// The digits of one number, built from the last to the first.
class Digits {
 public:
  void push(char digit) { characters_[--first_] = digit; }
  void push(std::string_view text) {
    for (std::size_t i = text.size(); i > 0; --i) push(text[i - 1]);
  }
  void push_decimal(std::uint64_t number) {
    do push(static_cast<char>('0' + number % 10));
    while ((number /= 10) != 0);
  }
  std::string_view view() const { return {characters_ + first_, kSize - first_}; }
  std::size_t size() const { return kSize - first_; }

 private:
  static constexpr std::size_t kSize = kMaxDigits + 8;
  char characters_[kSize];
  std::size_t first_ = kSize;
};

}  // namespace

Writer& Writer::text(std::string_view text, Column column) {
  const std::size_t missing = column.width > text.size() ? column.width - text.size() : 0;
  if (column.side == Column::Side::right) repeat(column.fill, missing);
  append(text);
  if (column.side == Column::Side::left) repeat(column.fill, missing);
  return *this;
}

Writer& Writer::character(char character) {
  append({&character, 1});
  return *this;
}

Writer& Writer::quoted(std::string_view text) {
  constexpr std::size_t kMost = 40;
  character('\'');
  for (const char character : text.substr(0, kMost)) {
    const auto byte = static_cast<std::uint8_t>(character);
    if (byte >= 0x20 && byte < 0x7f) {
      append({&character, 1});
    } else {
      const char escape[] = {'\\', 'x', kHexDigits[byte >> 4], kHexDigits[byte & 0xf]};
      append({escape, sizeof escape});
    }
  }
  append(text.size() > kMost ? "...'" : "'");
  return *this;
}

Writer& Writer::decimal(std::uint64_t magnitude, std::string_view sign, Column column) {
  Digits digits;
  digits.push_decimal(magnitude);
  if (column.side == Column::Side::right && column.fill == '0') {  // the sign stands before the zeros
    append(sign);
    column.width = column.width > sign.size() ? column.width - sign.size() : 0;
  } else {
    digits.push(sign);
  }
  return text(digits.view(), column);
}

Writer& Writer::hex(std::uint64_t number, std::size_t digits) {
  constexpr std::size_t kWidest = 16;
  Digits text;
  do text.push(kHexDigits[number & 0xf]);
  while ((number >>= 4) != 0);
  while (text.size() < digits && text.size() < kWidest) text.push('0');
  text.push("0x");
  append(text.view());
  return *this;
}

Writer& Writer::size(std::uint64_t bytes, Column column) {
  constexpr std::string_view kUnits[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
  unsigned unit = 0;
  while (unit < 6 && bytes >> (10 * unit) >= 1024) ++unit;
  // In tenths of the unit: the whole part and the rest apart, so that nothing overflows.
  const std::uint64_t one = std::uint64_t{1} << (10 * unit);
  const std::uint64_t rest = bytes & (one - 1);
  std::uint64_t tenths =
      bytes / one * 10 + (unit < 6 ? (rest * 10 + one / 2) / one : (rest / 64 * 10 + one / 128) / (one / 64));
  if (tenths >= 10240 && unit < 6) {  // 1023.96 KiB is 1.0 MiB
    tenths = 10;
    ++unit;
  }
  Digits digits;
  digits.push(kUnits[unit]);
  if (rest != 0) {
    digits.push(static_cast<char>('0' + tenths % 10));
    digits.push('.');
  }
  digits.push_decimal(tenths / 10);
  return text(digits.view(), column);
}

Writer& Writer::pad_to(std::size_t width, char fill) {
  const std::string_view all = view();
  const std::size_t newline = all.rfind('\n');
  const std::size_t column = newline == std::string_view::npos ? all.size() : all.size() - newline - 1;
  if (column < width) repeat(fill, width - column);
  return *this;
}

void Writer::clear() {
  used_ = 0;
  truncated_ = false;
}

void Writer::append(std::string_view text) {
  for (std::size_t i = 0; i < text.size() && !truncated_; ++i) {
    if (used_ == capacity_) return cut();
    buffer_[used_++] = text[i];
  }
}

void Writer::repeat(char fill, std::size_t times) {
  for (; times > 0 && !truncated_; --times) append({&fill, 1});
}

void Writer::cut() {
  truncated_ = true;
  const std::size_t marks = kCut.size() < capacity_ ? kCut.size() : capacity_;
  for (std::size_t i = 0; i < marks; ++i) buffer_[capacity_ - marks + i] = kCut[i];
}

namespace {

// The value of a digit, or 16 and more when it is none.
constexpr unsigned digit_value(char character) {
  if (character >= '0' && character <= '9') return static_cast<unsigned>(character - '0');
  if (character >= 'a' && character <= 'f') return static_cast<unsigned>(character - 'a') + 10;
  if (character >= 'A' && character <= 'F') return static_cast<unsigned>(character - 'A') + 10;
  return 16;
}

// log2 of what the suffix multiplies by; 0 when it is no suffix.
constexpr unsigned suffix_shift(char character) {
  switch (character) {
    case 'k':
    case 'K': return 10;
    case 'm':
    case 'M': return 20;
    case 'g':
    case 'G': return 30;
    default: return 0;
  }
}

}  // namespace

Result<std::uint64_t> parse_number(std::string_view text) {
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  unsigned base = 10;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    base = 16;
    text.remove_prefix(2);
  }
  const unsigned shift = text.empty() ? 0 : suffix_shift(text.back());
  if (shift != 0) text.remove_suffix(1);
  if (text.empty()) return Error::invalid;

  std::uint64_t number = 0;
  bool too_big = false;  // reported only when the rest is well formed
  for (const char character : text) {
    const unsigned digit = digit_value(character);
    if (digit >= base) return Error::invalid;
    too_big |= number > (kMost - digit) / base;
    number = number * base + digit;
  }
  if (too_big || number > kMost >> shift) return Error::too_big;
  return number << shift;
}

}  // namespace memory
