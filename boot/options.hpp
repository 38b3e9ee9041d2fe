// Options: what the words of the kernel command line ask for, checked, with a default for everything.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "boot/command_line.hpp"
#include "mm/base/config.hpp"
#include "mm/base/range.hpp"

namespace boot {

// What the kernel does with a release that breaks its contract.
enum class OnMisuse : std::uint8_t { panic, refuse };
// Whether five levels of page tables are used where the CPU has them.
enum class La57 : std::uint8_t { on, off };

struct Options {
  static constexpr std::size_t kMostHeld = 4;
  // Edges of zones are multiples of this, the end of the direct map among them.
  static constexpr std::uint64_t kDirectMapStep = memory::operator""_MiB(8);
  static constexpr std::uint32_t kMostSample = 1'000'000;
  // Below, the kernel's own tables would not fit.
  static constexpr std::uint64_t kLeastDirectMap = memory::operator""_MiB(16);

  std::uint64_t seed = 1;
  OnMisuse on_misuse = OnMisuse::panic;
  La57 la57 = La57::on;
  unsigned max_cpus = memory::config::max_cpus;  // 1 ... config::max_cpus
  std::uint64_t lock_limit_ms = 10'000;  // a lock held longer is reported, where config::debug says so
  std::uint32_t sample_every = 64;  // of slow allocations one comes from the guard pool; 0: there is none
  std::optional<std::uint64_t> direct_map_bytes;    // from address 0 on, in whole steps; absent: all memory
  std::array<memory::PhysRange, kMostHeld> held{};  // in the order given; whole frames, not overlapping
  std::size_t held_count = 0;

  std::span<const memory::PhysRange> holds() const { return {held.data(), held_count}; }
};

// Hears what was wrong with the command line: one clear line each (printable, without a line end), which says what
// was wrong and what is used instead.
class Complaints {
 public:
  virtual void say(std::string_view line) = 0;

 protected:
  ~Complaints() = default;
};

// Never fails: what is wrong is said and the default stays. Of an option given twice the last one counts; every
// `hold` counts.
Options parse_options(const CommandLine& line, Complaints& complaints);

// Every option there is: "seed=N, on_misuse=panic|refuse, ...".
void describe_options(memory::Writer& out);

}  // namespace boot
