// The options of the kernel command line: what is taken, what is refused, and in which words.
// SPDX-License-Identifier: MIT
#include "boot/options.hpp"

#include <new>

#include "tests/unit/unit.hpp"

using boot::La57;
using boot::OnMisuse;
using boot::Options;
using memory::PhysAddr;
using memory::PhysRange;
using memory::operator""_GiB;
using memory::operator""_MiB;

namespace {

constexpr unsigned kMostCpus = memory::config::max_cpus;

// The last line, and how many there were.
class Heard final : public boot::Complaints {
 public:
  void say(std::string_view line) override {
    ++lines;
    last.clear();
    last.text(line);
    cut = cut || last.truncated() || line.ends_with("...");
  }
  unsigned lines = 0;
  bool cut = false;
  memory::TextBuffer<400> last;
};

struct Parsed {
  Heard heard;
  Options options;
  explicit Parsed(std::string_view text) : options(boot::parse_options(boot::CommandLine(text), heard)) {}
  bool quiet() const { return heard.lines == 0; }
  // Exactly one complaint, with these words in it.
  bool complains(std::string_view words) const {
    return heard.lines == 1 && !heard.cut && heard.last.view().find(words) != std::string_view::npos;
  }
};

// Valid until the next call. On the kernel's stack a few of them would be too large.
const Parsed& parse(std::string_view text) {
  alignas(Parsed) static std::byte room[sizeof(Parsed)];
  return *new (room) Parsed(text);
}

constexpr PhysRange range(std::uint64_t first, std::uint64_t end) { return {PhysAddr{first}, PhysAddr{end}}; }

}  // namespace

TEST(options, have_defaults) {
  const Parsed& parsed = parse("");
  EXPECT(parsed.quiet());
  EXPECT_EQ(parsed.options.seed, 1u);
  EXPECT(parsed.options.on_misuse == OnMisuse::panic);
  EXPECT(parsed.options.la57 == La57::on);
  EXPECT_EQ(parsed.options.max_cpus, kMostCpus);
  EXPECT_EQ(parsed.options.sample_every, 64u);
  EXPECT(!parsed.options.direct_map_bytes);
  EXPECT(parsed.options.holds().empty());
}

TEST(options, are_all_taken) {
  const Parsed& parsed = parse(
      "seed=7 on_misuse=refuse la57=off maxcpus=1 sample=9 directmap=64M hold=128M+64M hold=0x1000-0x3000");
  EXPECT(parsed.quiet());
  EXPECT_EQ(parsed.options.seed, 7u);
  EXPECT(parsed.options.on_misuse == OnMisuse::refuse);
  EXPECT(parsed.options.la57 == La57::off);
  EXPECT_EQ(parsed.options.max_cpus, 1u);
  EXPECT_EQ(parsed.options.sample_every, 9u);
  EXPECT_EQ(parsed.options.direct_map_bytes.value_or(0), 64_MiB);
  ASSERT(parsed.options.held_count == 2);
  EXPECT(parsed.options.held[0] == range(128_MiB, 192_MiB));
  EXPECT(parsed.options.held[1] == range(0x1000, 0x3000));
}

TEST(options, given_twice_the_last_one_counts) {
  const Parsed& parsed =
      parse("seed=x seed=2 la57=no la57=on seed=9 maxcpus=0 maxcpus=2 directmap=1 directmap=16M");
  EXPECT(parsed.quiet());
  EXPECT_EQ(parsed.options.seed, 9u);
  EXPECT_EQ(parsed.options.max_cpus, 2u);
  EXPECT_EQ(parsed.options.direct_map_bytes.value_or(0), 16_MiB);
}

TEST(options, a_bad_one_is_named_and_its_default_stays) {
  struct Case {
    std::string_view text;
    std::string_view says;
    std::string_view instead;
  };
  const Case cases[] = {
      {"seed=", "seed='' is not a number", "; seed=1 is used"},
      {"seed=-1", "seed='-1' is not a number", "; seed=1 is used"},
      {"seed=99999999999999999999", "is too large a number", "; seed=1 is used"},
      {"on_misuse=", "on_misuse='' is unknown: choose panic or refuse", "; on_misuse=panic is used"},
      {"la57=OFF", "la57='OFF' is unknown: choose on or off", "; la57=on is used"},
      {"maxcpus=two", "maxcpus='two' is not a number", " is used"},
      {"maxcpus=0", "maxcpus=0 is out of range: from 1 to ", " is used"},
      {"maxcpus=1K", "maxcpus=1024 is out of range: from 1 to ", " is used"},
      {"maxcpus=18446744073709551615", "is out of range: from 1 to ", " is used"},
      {"sample=often", "sample='often' is not a number", "; sample=64 is used"},
      {"sample=1000001", "sample=1000001 is out of range: from 0 to 1000000", "; sample=64 is used"},
      {"directmap=most", "directmap='most' is not a number", "; all memory is mapped"},
      {"directmap=0", "directmap=0 B is too small: at least 16 MiB", "; all memory is mapped"},
      {"directmap=16777215", "directmap=16.0 MiB is too small: at least 16 MiB", "; all memory is mapped"},
  };
  for (const Case& one : cases) {
    const Parsed& parsed = parse(one.text);
    EXPECT(parsed.complains(one.says));
    EXPECT(parsed.heard.last.view().ends_with(one.instead));
    EXPECT_EQ(parsed.options.seed, 1u);
    EXPECT(parsed.options.on_misuse == OnMisuse::panic);
    EXPECT(parsed.options.la57 == La57::on);
    EXPECT_EQ(parsed.options.max_cpus, kMostCpus);
    EXPECT_EQ(parsed.options.sample_every, 64u);
    EXPECT(!parsed.options.direct_map_bytes);
  }
  EXPECT_EQ(parse("maxcpus=8").options.max_cpus, kMostCpus < 8 ? kMostCpus : 8u);
}

TEST(options, the_direct_map_is_rounded_down_to_a_zones_edge) {
  for (const std::string_view whole : {"directmap=16M", "directmap=0x1000000", "directmap=3G"}) {
    EXPECT(parse(whole).quiet());
  }
  const Parsed& parsed = parse("directmap=100M");
  EXPECT(parsed.complains("directmap=100 MiB is no multiple of 8 MiB; directmap=96 MiB is used"));
  EXPECT_EQ(parsed.options.direct_map_bytes.value_or(0), 96_MiB);
  const Parsed& largest = parse("directmap=0xffffffffffffffff");
  EXPECT_EQ(largest.options.direct_map_bytes.value_or(0), 0 - 8_MiB);
}

TEST(options, a_word_that_is_none_is_named_with_all_that_there_are) {
  const Parsed& parsed = parse("frobnicate");
  EXPECT(parsed.complains(
      "'frobnicate' is no option (there are seed=N, on_misuse=panic|refuse, la57=on|off, "
      "maxcpus=N, locklimit=MS, sample=N, directmap=SIZE, hold=FIRST-END|FIRST+SIZE); ignored"));
  for (const std::string_view word : {"seed", "seeds=1", "see=1", "=1", "SEED=1", "held=1-2", "hold"}) {
    EXPECT(parse(word).complains("is no option"));
  }
  const Parsed& harmful = parse("\x1b[2J\xff-and-much-more-than-forty-bytes-of-a-word-that-nobody-asked-for");
  EXPECT(harmful.complains("'\\x1b[2J\\xff-and"));
  EXPECT(harmful.heard.last.view().ends_with("; ignored"));
  EXPECT(
      parse(
          "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
          "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
          .heard.last.view()
          .ends_with("; ignored"));  // the longest that a word can become
  EXPECT_EQ(parse("a seed=3 b").heard.lines, 2u);
}

TEST(options, a_hold_is_a_range_of_whole_frames) {
  struct Case {
    std::string_view text;
    std::string_view says;
  };
  const Case cases[] = {
      {"hold=", "hold='' is neither FIRST-END nor FIRST+SIZE"},
      {"hold=64M", "is neither"},
      {"hold=-64M", "is neither"},
      {"hold=64M-", "is neither"},
      {"hold=64M-+64M", "is neither"},
      {"hold=64M--64M", "is neither"},
      {"hold=1-2-3", "is neither"},
      {"hold=64M+18446744073709551616", "is neither"},
      {"hold=64M-32M", "ends before it begins"},
      {"hold=0xfffffffffffff000+8K", "ends beyond the last address"},
      {"hold=64M-64M", "is empty"},
      {"hold=64M+0", "is empty"},
      {"hold=64M+1", "does not begin and end at a multiple of 4 KiB"},
      {"hold=0x4000800-0x4002000", "does not begin and end at a multiple of 4 KiB"},
  };
  for (const Case& one : cases) {
    const Parsed& parsed = parse(one.text);
    EXPECT(parsed.complains(one.says));
    EXPECT(parsed.heard.last.view().ends_with("; not held"));
    EXPECT(parsed.options.holds().empty());
  }
}

TEST(options, holds_do_not_overlap_and_are_four_at_most) {
  const Parsed& overlap = parse("hold=16M-32M hold=24M+4K");
  EXPECT(overlap.complains("hold='24M+4K' overlaps another hold; not held"));
  EXPECT_EQ(overlap.options.held_count, 1u);
  EXPECT(parse("hold=16M-32M hold=32M-48M").quiet());  // neighbours do not
  const Parsed& five = parse("hold=1M+4K hold=2M+4K hold=3M+4K hold=4M+4K hold=5M+4K");
  EXPECT(five.complains("hold='5M+4K' is one too many; not held"));
  ASSERT(five.options.holds().size() == 4);
  EXPECT(five.options.holds()[3] == range(4_MiB, 4_MiB + 0x1000));
}
