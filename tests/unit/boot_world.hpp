// What the tests of boot/ share: forged memory with a builder over it, and the words to forge with.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "boot/builder.hpp"
#include "tests/unit/unit.hpp"

namespace unit::boot_world {

using memory::BootInfo;
using memory::MemoryKind;
using memory::PhysAddr;
using memory::PhysRange;

inline constexpr std::size_t kBytes = 0x10000;  // of forged memory, from address 0
inline constexpr PhysRange kKernel{PhysAddr{0x100000}, PhysAddr{0x180000}};  // in the usable memory below

// Static, because it is large; every test begins with begin().
struct World {
  std::array<std::byte, kBytes> bytes{};
  boot::MemoryMap map{};
  BootInfo info{};
  boot::BootReport report{};
};
inline constinit World world{};

inline void begin() {
  world.bytes.fill(std::byte{0xcc});  // not zero: what is read beyond an end must show
  world.map.clear();
  std::construct_at(&world.info);  // in place: a temporary would not fit on a kernel stack
  std::construct_at(&world.report);
}

// The forged memory, from address 0 or from another one.
inline boot::PhysView view(std::uint64_t first = 0) {
  return {world.bytes.data(), PhysAddr{first + kBytes}, PhysAddr{first}};
}

// Writes little-endian words and texts, one after the other.
class Pen {
 public:
  explicit Pen(std::uint64_t address) : at_(address) {}

  std::uint64_t at() const { return at_; }
  Pen& u32(std::uint64_t value) { return word(value, 4); }
  Pen& u64(std::uint64_t value) { return word(value, 8); }
  Pen& text(std::string_view text) {
    for (const char character : text) byte(static_cast<unsigned char>(character));
    return *this;
  }
  Pen& zero(std::size_t bytes = 1) {
    for (; bytes > 0; --bytes) byte(0);
    return *this;
  }
  Pen& align(std::uint64_t power) {
    at_ = (at_ + power - 1) & ~(power - 1);
    return *this;
  }

 private:
  Pen& word(std::uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i) byte(static_cast<std::uint8_t>(value >> (8 * i)));
    return *this;
  }
  void byte(std::uint8_t value) {
    if (at_ < kBytes) world.bytes[at_] = std::byte{value};
    ++at_;
  }

  std::uint64_t at_;
};

// -- what came out

inline std::uint64_t available_bytes(const BootInfo& info) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < info.memory_ranges; ++i) {
    if (info.memory[i].kind == MemoryKind::available) bytes += info.memory[i].range.bytes();
  }
  return bytes;
}

inline bool is_reserved(const BootInfo& info, std::uint64_t address) {
  for (std::size_t i = 0; i < info.reserved_ranges; ++i) {
    if (info.reserved[i].contains(PhysAddr{address})) return true;
  }
  return false;
}

// The failure's whole sentence contains `needle`.
inline bool failure_says(std::string_view needle) {
  memory::TextBuffer<200> text;
  world.report.describe_failure(text);
  return !text.truncated() && text.view().find(needle) != std::string_view::npos;
}

inline bool some_note_says(std::string_view needle) {
  for (std::size_t i = 0; i < world.report.notes(); ++i) {
    memory::TextBuffer<200> text;
    boot::BootReport::describe(text, world.report[i]);
    if (text.view().find(needle) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace unit::boot_world
