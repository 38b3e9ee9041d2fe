// One table of options: a name, the shape of its value, and who reads it.
// SPDX-License-Identifier: MIT
#include "boot/options.hpp"

namespace boot {

using memory::Error;
using memory::kPageSize;
using memory::parse_number;
using memory::PhysAddr;
using memory::PhysRange;
using memory::Result;

namespace {

constexpr std::array<std::string_view, 2> kMisuseWords{"panic", "refuse"};  // in OnMisuse's order
constexpr std::array<std::string_view, 2> kSwitchWords{"on", "off"};        // in La57's order

using Line = memory::TextBuffer<400>;  // 40 bytes of a foreign word may take 160, all options 100
using Instead = memory::TextBuffer<64>;

class Parser {
 public:
  Parser(const CommandLine& line, Complaints& complaints) : line_(line), complaints_(complaints) {}

  Options run();

  void read_seed();
  void read_on_misuse();
  void read_la57();
  void read_max_cpus();
  void read_lock_limit();
  void read_sample();
  void read_direct_map();
  void read_holds();

 private:
  std::optional<std::uint64_t> number(std::string_view key, const Instead& instead);
  std::size_t choice(std::string_view key, std::span<const std::string_view> words);
  void check_word(std::string_view word);
  void read_hold(std::string_view text);

  const CommandLine& line_;
  Complaints& complaints_;
  Options options_;
};

struct Row {
  std::string_view name;
  std::string_view shape;  // of its value
  void (Parser::*read)();
};

// The list of options. `describe_options` prints it as it stands.
constexpr Row kRows[] = {
    {"seed", "N", &Parser::read_seed},
    {"on_misuse", "panic|refuse", &Parser::read_on_misuse},
    {"la57", "on|off", &Parser::read_la57},
    {"maxcpus", "N", &Parser::read_max_cpus},
    {"locklimit", "MS", &Parser::read_lock_limit},
    {"sample", "N", &Parser::read_sample},
    {"directmap", "SIZE", &Parser::read_direct_map},
    {"hold", "FIRST-END|FIRST+SIZE", &Parser::read_holds},
};

bool gives(std::string_view word, std::string_view name) {
  return word.starts_with(name) && word.substr(name.size()).starts_with('=');
}

Options Parser::run() {
  line_.for_each_word([this](std::string_view word) { check_word(word); });
  for (const Row& row : kRows) (this->*row.read)();
  return options_;
}

void Parser::check_word(std::string_view word) {
  for (const Row& row : kRows) {
    if (gives(word, row.name)) return;
  }
  Line line;
  line.quoted(word).text(" is no option (there are ");
  describe_options(line);
  line.text("); ignored");
  complaints_.say(line.view());
}

// Nothing where there is none, or a bad one; then `instead` ends the complaint.
std::optional<std::uint64_t> Parser::number(std::string_view key, const Instead& instead) {
  const Result<std::uint64_t> found = line_.number(key);
  if (found.ok()) return found.take();
  if (found.error() == Error::not_found) return {};
  Line line;
  line_.describe_bad_number(line, key);
  complaints_.say(line.text("; ").text(instead.view()).view());
  return {};
}

// The first of `words` is the default.
std::size_t Parser::choice(std::string_view key, std::span<const std::string_view> words) {
  const Result<std::size_t> found = line_.choice(key, words);
  if (found.ok()) return found.take();
  if (found.error() != Error::not_found) {
    Line line;
    line_.describe_bad_choice(line, key, words);
    complaints_.say(line.text("; ").text(key).text("=").text(words[0]).text(" is used").view());
  }
  return 0;
}

void Parser::read_seed() {
  Instead instead;
  instead.text("seed=").number(options_.seed).text(" is used");
  options_.seed = number("seed", instead).value_or(options_.seed);
}

void Parser::read_on_misuse() {
  options_.on_misuse = static_cast<OnMisuse>(choice("on_misuse", kMisuseWords));
}

void Parser::read_la57() { options_.la57 = static_cast<La57>(choice("la57", kSwitchWords)); }

void Parser::read_max_cpus() {
  Instead instead;
  instead.text("maxcpus=").number(options_.max_cpus).text(" is used");
  const auto wanted = number("maxcpus", instead);
  if (!wanted) return;
  if (*wanted >= 1 && *wanted <= memory::config::max_cpus) {
    options_.max_cpus = static_cast<unsigned>(*wanted);
    return;
  }
  Line line;
  line.text("maxcpus=").number(*wanted).text(" is out of range: from 1 to ").number(memory::config::max_cpus);
  complaints_.say(line.text("; ").text(instead.view()).view());
}

void Parser::read_lock_limit() {
  Instead instead;
  instead.text("locklimit=").number(options_.lock_limit_ms).text(" is used");
  options_.lock_limit_ms = number("locklimit", instead).value_or(options_.lock_limit_ms);
}

void Parser::read_sample() {
  Instead instead;
  instead.text("sample=").number(options_.sample_every).text(" is used");
  const auto wanted = number("sample", instead);
  if (!wanted) return;
  if (*wanted <= Options::kMostSample) {
    options_.sample_every = static_cast<std::uint32_t>(*wanted);
    return;
  }
  Line line;
  line.text("sample=").number(*wanted).text(" is out of range: from 0 to ").number(Options::kMostSample);
  complaints_.say(line.text("; ").text(instead.view()).view());
}

// Rounded, not refused: who asks for 100M wants to see a short direct map, not an exact one.
void Parser::read_direct_map() {
  Instead instead;
  instead.text("all memory is mapped");
  const auto wanted = number("directmap", instead);
  if (!wanted) return;
  Line line;
  line.text("directmap=").size(*wanted);
  if (*wanted < Options::kLeastDirectMap) {
    line.text(" is too small: at least ").size(Options::kLeastDirectMap);
    complaints_.say(line.text("; ").text(instead.view()).view());
    return;
  }
  options_.direct_map_bytes = *wanted / Options::kDirectMapStep * Options::kDirectMapStep;
  if (*options_.direct_map_bytes == *wanted) return;
  line.text(" is no multiple of ").size(Options::kDirectMapStep).text("; directmap=");
  complaints_.say(line.size(*options_.direct_map_bytes).text(" is used").view());
}

// FIRST-END or FIRST+SIZE. Fails with not_found when it has no such shape, else as numbers and ranges do.
Result<PhysRange> parse_range(std::string_view text) {
  const std::size_t sign = text.find_first_of("-+");
  if (sign == std::string_view::npos) return Error::not_found;
  const auto first = parse_number(text.substr(0, sign));
  const auto second = parse_number(text.substr(sign + 1));
  if (!first.ok() || !second.ok()) return Error::not_found;
  const PhysAddr at{first.take()};
  return text[sign] == '-' ? PhysRange::between(at, PhysAddr{second.take()})
                           : PhysRange::create(at, second.take());
}

// Why a range that is one cannot be held; empty: it can.
std::string_view refusal(PhysRange range, const Options& options) {
  if (range.empty()) return " is empty";
  if (!range.first.aligned_to(kPageSize) || !range.end.aligned_to(kPageSize)) {
    return " does not begin and end at a multiple of 4 KiB";
  }
  for (const PhysRange& other : options.holds()) {
    if (other.overlaps(range)) return " overlaps another hold";
  }
  return options.held_count == Options::kMostHeld ? " is one too many" : "";
}

void Parser::read_hold(std::string_view text) {
  const Result<PhysRange> range = parse_range(text);
  std::string_view why;
  if (range.error() == Error::not_found) {
    why = " is neither FIRST-END nor FIRST+SIZE; numbers are decimal or 0x..., then at most one of K, M, G";
  } else if (!range.ok()) {
    why =
        text.find('+') == std::string_view::npos ? " ends before it begins" : " ends beyond the last address";
  } else {
    why = refusal(range.take(), options_);
  }
  if (why.empty()) {
    options_.held[options_.held_count++] = range.take();
    return;
  }
  Line line;
  complaints_.say(line.text("hold=").quoted(text).text(why).text("; not held").view());
}

void Parser::read_holds() {
  line_.for_each_word([this](std::string_view word) {
    constexpr std::string_view kName = "hold";
    if (gives(word, kName)) read_hold(word.substr(kName.size() + 1));
  });
}

}  // namespace

Options parse_options(const CommandLine& line, Complaints& complaints) {
  return Parser(line, complaints).run();
}

void describe_options(memory::Writer& out) {
  std::string_view before;
  for (const Row& row : kRows) {
    out.text(before).text(row.name).text("=").text(row.shape);
    before = ", ";
  }
}

}  // namespace boot
