// libFuzzer target: the options of any command line, and the holds that they ask for on any map.
// SPDX-License-Identifier: MIT
#include "boot/options.hpp"

#include <numeric>
#include <string>

#include "boot/hold.hpp"
#include "tests/fuzz/boot_forge.hpp"

namespace {

using boot::Options;
using forge::Bytes;
using forge::info;

class Heard final : public boot::Complaints {
 public:
  void say(std::string_view line) override {
    MUST(!line.empty() && line.size() <= 400 && !line.ends_with("..."));  // never cut
    for (const char character : line) MUST(character >= ' ' && character < 0x7f);
    ++lines;
  }
  std::size_t lines = 0;
};

// Words as people and attackers write them: known keys, numbers with and without sense, and the input itself.
std::string forge_line(Bytes& bytes) {
  static constexpr std::string_view kPieces[] = {
      "seed=",
      "on_misuse=",
      "panic",
      "refuse",
      "la57=",
      "on",
      "off",
      "maxcpus=",
      "directmap=",
      "hold=",
      "hold=",
      "1",
      "8",
      "9",
      "16M",
      "64M",
      "+",
      "-",
      "4K",
      "0x",
      "0x10000",
      "0x3000",
      " ",
      " ",
      "\t",
      "=",
      "G",
      "0",
      "18446744073709551615",
      "20000",
  };
  std::string line;
  for (unsigned words = bytes.u8(); words > 0 && !bytes.empty(); --words) {
    const std::uint8_t which = bytes.u8();
    if (which < 240) {
      line += kPieces[which % std::size(kPieces)];
    } else {
      for (const std::uint8_t byte : bytes.take(which % 16)) line += static_cast<char>(byte);
    }
  }
  return line;
}

void forge_map(Bytes& bytes) {
  forge::map.clear();
  info = forge::BootInfo{};
  for (unsigned ranges = bytes.u8(); ranges > 0; --ranges) {
    const auto kind = static_cast<forge::MemoryKind>(bytes.u8() % 8 == 0 ? bytes.u8() % 5 : 0);
    forge::map.add(forge::PhysAddr{std::uint64_t{bytes.u8()} << 13}, std::uint64_t{bytes.u8()} << 12, kind);
  }
  forge::map.add(forge::PhysAddr{16 << 20}, std::uint64_t{bytes.u8()} << 20, forge::MemoryKind::available);
  forge::map.finish(info, forge::PhysAddr{std::uint64_t{64} << 30});
  for (unsigned ranges = bytes.u8() % 8; ranges > 0; --ranges) {
    const forge::PhysAddr at{std::uint64_t{bytes.u8()} << 13};
    MUST(boot::reserve(info, {at, at + 0x2000}).ok());
  }
}

std::uint64_t bytes_of(forge::MemoryKind kind) {
  const std::span ranges(info.memory.data(), info.memory_ranges);
  return std::accumulate(ranges.begin(), ranges.end(), std::uint64_t{0},
                         [&](std::uint64_t sum, const auto& range) {
                           return sum + (range.kind == kind ? range.range.bytes() : 0);
                         });
}

void check(const Options& options) {
  MUST(options.max_cpus >= 1 && options.max_cpus <= memory::config::max_cpus);
  MUST(options.on_misuse <= boot::OnMisuse::refuse && options.la57 <= boot::La57::off);
  if (options.direct_map_bytes) {
    MUST(*options.direct_map_bytes >= 16 << 20 && *options.direct_map_bytes % (8 << 20) == 0);
  }
  MUST(options.held_count <= options.held.size());
  for (std::size_t i = 0; i < options.held_count; ++i) {
    const forge::PhysRange range = options.held[i];
    MUST(range.first < range.end && range.first.value % 4096 == 0 && range.end.value % 4096 == 0);
    for (std::size_t other = 0; other < i; ++other) MUST(!range.overlaps(options.held[other]));
  }
}

void hold_all(const Options& options) {
  for (const forge::PhysRange range : options.holds()) {
    const std::uint64_t free = bytes_of(forge::MemoryKind::available);
    const std::uint64_t held = bytes_of(forge::MemoryKind::held);
    const bool usable = boot::is_available(info, range);
    const std::uint64_t moved = boot::hold(info, range).ok() ? range.bytes() : 0;
    MUST(moved == 0 || usable);
    MUST(bytes_of(forge::MemoryKind::available) == free - moved);
    MUST(bytes_of(forge::MemoryKind::held) == held + moved);
    MUST(boot::valid(info));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  if (bytes.u8() % 2 == 0) forge_map(bytes);
  const std::string line =
      bytes.u8() % 4 == 0 ? std::string(reinterpret_cast<const char*>(data), size) : forge_line(bytes);
  Heard heard;
  const Options options = boot::parse_options(boot::CommandLine(line), heard);
  check(options);
  hold_all(options);
  return 0;
}
