// What the fuzzers of boot/ share: the input as values, forged memory, and what must hold of a BootInfo.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "boot/receive.hpp"
#include "tests/fuzz/must.hpp"

namespace forge {

using memory::BootInfo;
using memory::MemoryKind;
using memory::PhysAddr;
using memory::PhysRange;

// Takes values from the fuzzer's input; zeros when it is used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }
  std::uint8_t u8() { return static_cast<std::uint8_t>(word(1)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(word(4)); }
  std::uint64_t u64() { return word(8); }
  std::span<const std::uint8_t> take(std::size_t count) {
    const auto taken = rest_.first(count < rest_.size() ? count : rest_.size());
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  std::span<const std::uint8_t> all() { return take(rest_.size()); }

  // An address or size as loaders and attackers choose them: in small memory, at its edges, or anything.
  std::uint64_t address() {
    const std::uint8_t how = u8();
    const std::uint64_t small = word(2);
    switch (how % 8) {
      case 0: return u64();
      case 1: return ~std::uint64_t{0} - small;
      case 2: return small;
      case 3: return boot::kPhysicalEnd - small;
      case 4: return std::uint64_t{u32()};
      case 5: return small << 20;
      default: return small << 12;
    }
  }

 private:
  std::uint64_t word(std::size_t bytes) {
    std::uint64_t value = 0;
    const auto taken = take(bytes);
    for (std::size_t i = 0; i < taken.size(); ++i) value |= std::uint64_t{taken[i]} << (8 * i);
    return value;
  }

  std::span<const std::uint8_t> rest_;
};

// Physical memory from address first() on, exactly as large as the view: ASan sees the first byte beyond it.
class Memory {
 public:
  explicit Memory(std::size_t bytes, std::uint64_t first = 0)
      : bytes_(bytes, std::byte{0xcc}), first_(first) {}

  boot::PhysView view() const { return {bytes_.data(), PhysAddr{end()}, PhysAddr{first_}}; }
  std::uint64_t first() const { return first_; }
  std::uint64_t end() const { return first_ + bytes_.size(); }

  void put(std::uint64_t at, const void* data, std::size_t count) {
    if (at < first_ || at >= end()) return;
    std::memcpy(bytes_.data() + (at - first_), data, count < end() - at ? count : end() - at);
  }
  void u32(std::uint64_t at, std::uint32_t value) { put(at, &value, sizeof value); }
  void u64(std::uint64_t at, std::uint64_t value) { put(at, &value, sizeof value); }
  void put(std::uint64_t at, std::span<const std::uint8_t> data) { put(at, data.data(), data.size()); }

 private:
  std::vector<std::byte> bytes_;
  std::uint64_t first_;
};

// -- the parser's output, static because it is large
inline boot::MemoryMap map;
inline BootInfo info;
inline boot::BootReport report;

inline constexpr PhysRange kKernel{PhysAddr{0x100000}, PhysAddr{0x123000}};

// Where forged memory begins: mostly at 0, sometimes in the kernel or where the usual map has no memory.
inline std::uint64_t first_address(Bytes& bytes) {
  const std::uint8_t how = bytes.u8();
  return how % 16 == 14 ? kKernel.first.value : how % 16 == 15 ? 80 << 20 : 0;
}

inline bool holds(std::span<const PhysRange> ranges, PhysRange inner) {
  for (const PhysRange& range : ranges) {
    if (range.contains(inner)) return true;
  }
  return false;
}

// Written apart from boot::valid(), which is checked by it.
inline void check_memory() {
  MUST(info.memory_ranges <= info.memory.size());
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < info.memory_ranges; ++i) {
    const PhysRange range = info.memory[i].range;
    MUST(range.first.value >= last && range.first < range.end);
    MUST(range.first.value % memory::kPageSize == 0 && range.end.value % memory::kPageSize == 0);
    MUST(range.end.value <= std::uint64_t{memory::config::max_memory_gib} << 30);
    last = range.end.value;
  }
}

inline void check_reserved() {
  MUST(info.reserved_ranges <= info.reserved.size());
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < info.reserved_ranges; ++i) {
    const PhysRange range = info.reserved[i];
    MUST((i == 0 || range.first.value > last) && range.first < range.end);
    MUST(range.first.value % memory::kPageSize == 0 && range.end.value % memory::kPageSize == 0);
    MUST(boot::is_available(info, range));
    last = range.end.value;
  }
}

inline void check_success(const Memory& memory) {
  check_memory();
  check_reserved();
  const std::span<const PhysRange> reserved(info.reserved.data(), info.reserved_ranges);
  MUST(boot::is_available(info, kKernel) && holds(reserved, kKernel));
  const PhysRange frame0{PhysAddr{0}, PhysAddr{memory::kPageSize}};
  MUST(!boot::is_available(info, frame0) || holds(reserved, frame0));
  MUST(info.module_count <= info.modules.size());
  for (std::size_t i = 0; i < info.module_count; ++i) {
    const PhysRange module = info.modules[i].range;
    MUST(module.first <= module.end);
    MUST(module.empty() || (holds(reserved, module) && !module.overlaps(kKernel)));
    MUST(info.modules[i].name_size <= info.modules[i].name_text.size());
  }
  MUST(info.command_line_size <= info.command_line_text.size());
  MUST(info.command_line().find('\0') == std::string_view::npos);
  if (info.rsdp.value != 0 && memory.view().contains(info.rsdp, 8)) {
    MUST(memory.view().text(info.rsdp, 8) == "RSD PTR ");
  }
  MUST(boot::valid(info));
}

inline void check_report(bool ok) {
  MUST(ok == (report.failure() == boot::Fatal::none));
  char buffer[256];
  memory::Writer text(buffer, sizeof buffer);
  report.describe_failure(text);
  MUST(!text.truncated() && !text.view().empty());
  for (std::size_t i = 0; i < report.notes(); ++i) {
    text.clear();
    boot::BootReport::describe(text, report[i]);
    MUST(!text.truncated() && !text.view().empty());
  }
}

// Parses twice, the second time into what the first has left behind, and checks what came out.
inline void run(const Memory& memory, std::uint32_t magic, std::uint64_t at) {
  static BootInfo first;
  const boot::PhysView view = memory.view();
  bool ok = false;
  for (int round = 0; round < 2; ++round) {
    boot::Builder builder(view, kKernel, map, info, report);
    ok = boot::receive(builder, magic, PhysAddr{at}).ok();
    check_report(ok);
    if (ok) check_success(memory);
    if (round == 0) first = info;
  }
  if (!ok) return;
  MUST(first.memory == info.memory && first.reserved == info.reserved);
  MUST(first.module_count == info.module_count && first.command_line() == info.command_line());
}

}  // namespace forge
