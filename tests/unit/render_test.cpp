// The two renderings: columns that people know from /proc, and JSON that any parser takes.
// SPDX-License-Identifier: MIT
#include "mm/stats/render.hpp"

#include <limits>

#include "tests/unit/world.hpp"

using namespace memory;
using unit::frames;
using unit::World;

namespace {

class Paper final : public Sink {
 public:
  void write(std::string_view text) override {
    for (const char character : text)
      if (used_ < sizeof text_) text_[used_++] = character;
  }
  std::string_view text() const { return {text_, used_}; }
  void clear() { used_ = 0; }

 private:
  char text_[4096];
  std::size_t used_ = 0;
};

Paper paper;

template <typename Renderer, typename Say>
std::string_view rendered(Say&& say) {
  paper.clear();
  Renderer renderer(paper);
  say(renderer);
  return paper.text();
}

// A validator for RFC 8259: the grammar and nothing else. Returns the rest after one value, "!" on an error.
std::string_view value_end(std::string_view text, unsigned depth = 0);

std::string_view string_end(std::string_view text) {
  for (std::size_t at = 1; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x20 || byte >= 0x80) return "!";
    if (byte == '"') return text.substr(at + 1);
    if (byte != '\\') continue;
    if (at + 5 >= text.size() || text[at + 1] != 'u') return "!";  // the one escape that is written here
    for (unsigned digit = 2; digit < 6; ++digit)
      if (std::string_view("0123456789abcdef").find(text[at + digit]) == std::string_view::npos) return "!";
    at += 5;
  }
  return "!";
}

std::string_view list_end(std::string_view text, char close, unsigned depth) {
  text.remove_prefix(1);
  if (!text.empty() && text[0] == close) return text.substr(1);
  for (;;) {
    if (close == '}') {
      if (text.empty() || text[0] != '"') return "!";
      text = string_end(text);
      if (text.empty() || text[0] != ':') return "!";
      text.remove_prefix(1);
    }
    text = value_end(text, depth + 1);
    if (text.empty() || text == "!") return "!";
    if (text[0] == close) return text.substr(1);
    if (text[0] != ',') return "!";
    text.remove_prefix(1);
  }
}

std::string_view value_end(std::string_view text, unsigned depth) {
  if (text.empty() || depth > 8) return "!";
  if (text[0] == '{') return list_end(text, '}', depth);
  if (text[0] == '[') return list_end(text, ']', depth);
  if (text[0] == '"') return string_end(text);
  std::size_t digits = text[0] == '-' ? 1 : 0;
  const std::size_t first = digits;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits == first || (text[first] == '0' && digits > first + 1)) return "!";
  return text.substr(digits);
}

bool is_json(std::string_view text) { return value_end(text).empty(); }

constexpr PhysRange kMemory[] = {frames(0, 2048)};
constexpr PhysRange kReserved[] = {frames(0, 1), frames(512, 512 + 77)};

}  // namespace

TEST(render, the_validator_itself_can_fail) {
  EXPECT(is_json("{\"a\":[1,-2,{}],\"b\":\"x\\u0041\"}"));
  for (const std::string_view bad : {"", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "01", "-", "\"a", "[1 2]",
                                     "{a:1}", "\"\n\"", "1x", "[]]", "\"\\u00\"", "\"\\x\""})
    EXPECT(!is_json(bad));
}

TEST(render, meminfo_has_the_columns_of_proc) {
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  const auto say = [&](Inspector& to) { world->physical().describe_meminfo(to); };
  EXPECT_EQ(rendered<TextRenderer>(say),
            "MemTotal:            7880 kB\n"
            "MemFree:             7880 kB\n"
            "MemPerCpu:              0 kB\n"
            "MemPresent:          8192 kB\n"
            "MemReserved:          312 kB\n");
  EXPECT_EQ(rendered<JsonRenderer>(say),
            "{\"MemTotal\":7880,\"MemFree\":7880,\"MemPerCpu\":0,\"MemPresent\":8192,\"MemReserved\":312}");
}

TEST(render, buddyinfo_has_the_columns_of_proc) {
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  const auto say = [&](Inspector& to) { world->physical().describe_buddyinfo(to); };
  EXPECT_EQ(rendered<TextRenderer>(say),
            "Node 0, zone      DMA      2      2      1      1      2      2      1      2      2      0     "
            " 1      0\n");
  EXPECT_EQ(rendered<JsonRenderer>(say),
            "[{\"Node\":0,\"zone\":\"DMA\",\"free_blocks\":[2,2,1,1,2,2,1,2,2,0,1,0]}]");
}

TEST(render, zoneinfo_has_the_columns_of_proc) {
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  const auto say = [&](Inspector& to) { world->physical().describe_zoneinfo(to); };
  EXPECT_EQ(rendered<JsonRenderer>(say),
            "[{\"Node\":0,\"zone\":\"DMA\",\"pages\":{\"free\":1970,\"min\":7,\"low\":8,\"high\":10,"
            "\"spanned\":2048,\"present\":2048,"
            "\"managed\":1970,\"start_pfn\":0}}]");
  EXPECT_EQ(rendered<TextRenderer>(say),
            "Node 0, zone      DMA\n"
            "  pages free     1970\n"
            "        min      7\n"
            "        low      8\n"
            "        high     10\n"
            "        spanned  2048\n"
            "        present  2048\n"
            "        managed  1970\n"
            "        start_pfn 0\n");
}

TEST(render, counters_are_one_a_line) {
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  const auto say = [&](Inspector& to) { world->manager().describe_counters(to); };
  const std::string_view text = rendered<TextRenderer>(say);
  EXPECT_EQ(text.substr(0, 26), "frames_present:      2048\n");
  std::size_t lines = 0;
  for (const char character : text) lines += character == '\n';
  EXPECT_EQ(lines, stats::kCounters);
  EXPECT(is_json(rendered<JsonRenderer>(say)));
}

TEST(render, frames_are_a_table_whose_columns_stay_apart) {
  World world({.memory = kMemory, .reserved = kReserved});
  ASSERT(world.ok());
  const auto three = world->physical().allocate(Order{1});
  ASSERT(three.ok());
  const FrameNumber number = three.take();
  const auto say = [&](Inspector& to) {
    world->physical().describe_frames(to, FrameNumber{0}, 1);
    (void)number;
  };
  EXPECT_EQ(
      rendered<JsonRenderer>(say),
      "[{\"frame\":0,\"address\":\"0x0\",\"state\":\"reserved\",\"order\":0,\"references\":0,\"mappings\":0,"
      "\"flags\":0}]");
  const auto pair = [&](Inspector& to) { world->physical().describe_frames(to, number, 3); };
  const std::string_view json = rendered<JsonRenderer>(pair);
  EXPECT(is_json(json));
  EXPECT(json.find("\"state\":\"allocated\",\"order\":1,\"references\":1") != std::string_view::npos);
  EXPECT(json.find("\"state\":\"inside\"") != std::string_view::npos);
  EXPECT(json.find("\"state\":\"free\"") != std::string_view::npos);
}

TEST(render, a_wide_cell_keeps_a_blank_before_it) {
  const auto say = [](Inspector& to) {
    to.begin_array("", Layout::table);
    for (const std::uint64_t address : {0x1000ull, 0xf'ffff'f000ull, ~0ull}) {
      to.begin_object("", Layout::row);
      to.number("frame", static_cast<std::int64_t>(address >> 12 & 0xffff'ffff), Unit::none);
      to.hex("address", address);
      to.text("state", "reserved");
      to.end_object();
    }
    to.end_array();
  };
  const std::string_view text = rendered<TextRenderer>(say);
  EXPECT(text.find("frame") < text.find("address"));
  for (const std::string_view cell : {" 0x1000 ", " 0xffffff000 ", " 0xffffffffffffffff ", " 16777215 "})
    EXPECT(text.find(cell) != std::string_view::npos);
  EXPECT(is_json(rendered<JsonRenderer>(say)));
}

TEST(render, wide_numbers_of_a_row_keep_a_blank_between_them) {
  const auto say = [](Inspector& to) {
    to.begin_array("", Layout::row);
    for (const std::int64_t number : {7, 123'456, 1'234'567, 12'345'678}) to.number("", number, Unit::none);
    to.end_array();
  };
  EXPECT_EQ(rendered<TextRenderer>(say), "      7 123456 1234567 12345678\n");
}

TEST(render, a_long_cell_is_shown_whole) {
  const auto say = [](Inspector& to) {
    to.begin_array("", Layout::table);
    for (const std::string_view what : {"256 frames in a row, their allocation", "short"}) {
      to.begin_object("", Layout::row);
      to.text("case", "batch-alloc");
      to.text("what", what);
      to.number("ticks", 77, Unit::none);
      to.end_object();
    }
    to.end_array();
  };
  const std::string_view text = rendered<TextRenderer>(say);
  EXPECT(text.find("  256 frames in a row, their allocation       77\n") != std::string_view::npos);
  EXPECT(text.find("                                  short       77\n") != std::string_view::npos);
}

TEST(render, frames_of_a_hole_are_left_out_and_the_end_is_the_end) {
  static constexpr PhysRange kHole[] = {frames(0, 3), frames(5, 6)};
  World world({.memory = kHole});
  ASSERT(world.ok());
  const auto all = [&](Inspector& to) {
    world->physical().describe_frames(to, FrameNumber{2}, ~std::size_t{0});
  };
  const std::string_view json = rendered<JsonRenderer>(all);
  EXPECT(is_json(json));
  unsigned count = 0;
  for (std::size_t at = json.find("\"frame\""); at != std::string_view::npos;
       at = json.find("\"frame\"", at + 1))
    ++count;
  EXPECT_EQ(count, 2u);
  const auto beyond = [&](Inspector& to) { world->physical().describe_frames(to, kNoFrame, 5); };
  EXPECT_EQ(rendered<JsonRenderer>(beyond), "[]");
}

TEST(render, json_escapes_every_byte_that_is_not_plain) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char text[] = {'a', static_cast<char>(byte), 'b'};
    paper.clear();
    write_json_string(paper, {text, 3});
    EXPECT(is_json(paper.text()));
    const bool plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
    EXPECT_EQ(paper.text().size(), plain ? 5u : 10u);
  }
  paper.clear();
  write_json_string(paper, "\"\\\n\x7f\xff");
  EXPECT_EQ(paper.text(), "\"\\u0022\\u005c\\u000a\\u007f\\u00ff\"");
}

TEST(render, json_numbers_are_whole_and_signed) {
  const auto say = [](Inspector& to) {
    to.begin_object("", Layout::lines);
    to.number("least", std::numeric_limits<std::int64_t>::min(), Unit::none);
    to.number("most", std::numeric_limits<std::int64_t>::max(), Unit::kib);
    to.begin_array("none", Layout::row);
    to.end_array();
    to.begin_object("inner", Layout::row);
    to.end_object();
    to.text("last", "");
    to.end_object();
  };
  EXPECT_EQ(
      rendered<JsonRenderer>(say),
      "{\"least\":-9223372036854775808,\"most\":9223372036854775807,\"none\":[],\"inner\":{},\"last\":\"\"}");
}
