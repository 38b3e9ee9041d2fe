// libFuzzer target: the multiboot2 parser on raw bytes, and on forged structures that are nearly right.
// SPDX-License-Identifier: MIT
#include "boot/multiboot2.hpp"

#include "tests/fuzz/boot_forge.hpp"

namespace {

using forge::Bytes;
using forge::Memory;

constexpr std::uint64_t kAt = 0x400;

// Appends tags to a structure in memory; each may lie about its size.
class Forger {
 public:
  explicit Forger(Bytes& bytes)
      : bytes_(bytes), memory_(0x1000 + std::size_t{bytes.u8()} * 64, forge::first_address(bytes)) {}

  std::uint64_t structure() const { return memory_.first() + kAt; }

  const Memory& forge() {
    good_map();
    while (!bytes_.empty() && at_ < memory_.end()) any_tag();
    const std::uint8_t flaws = flaws_;
    if ((flaws & 1) == 0) tag(0, 8);
    memory_.u32(structure(), (flaws & 2) != 0 ? bytes_.u32() : static_cast<std::uint32_t>(at_ - structure()));
    return memory_;
  }

 private:
  // Most forgeries should get past the map, so that what comes after it is exercised.
  void good_map() {
    if ((flaws_ & 4) != 0) return;
    tag(6, 16 + 3 * 24);
    u32(24), u32(0);
    entry(0, 0x9fc00, 1), entry(0x9fc00, 0x400, 2), entry(0x100000, 63 << 20, 1);
  }

  void any_tag() {
    switch (bytes_.u8() % 8) {
      case 0: return text_tag(1);
      case 1: return module_tag();
      case 2: return map_tag();
      case 3: return rsdp_tag(14, 20);
      case 4: return rsdp_tag(15, 36);
      case 5: return tag(bytes_.u8(), bytes_.u8());
      case 6: return tag(bytes_.u32(), bytes_.u32());
      default: return scattered_map_tag();
    }
  }

  void text_tag(std::uint32_t type) {
    const std::size_t length = std::size_t{bytes_.u8()} * (bytes_.u8() % 16);
    tag(type, 8 + length + bytes_.u8() % 2);
    text(length);
  }
  void module_tag() {
    if (bytes_.u8() % 16 == 15) return tag(3, 8 + bytes_.u8() % 8);
    const std::uint64_t first = bytes_.address();
    const std::uint8_t length = bytes_.u8();
    tag(3, 16 + length + bytes_.u8() % 4 - 1);
    u32(static_cast<std::uint32_t>(first));
    u32(static_cast<std::uint32_t>(bytes_.u8() % 4 == 0 ? bytes_.address() : first + bytes_.u8() * 100u));
    text(length);
  }
  void map_tag() {
    const std::uint8_t entries = bytes_.u8() % 16;
    const std::uint32_t extra = bytes_.u8() % 8 == 0 ? bytes_.u8() : 0;
    tag(6, 16 + entries * (24u + extra) + bytes_.u8() % 2);
    u32(bytes_.u8() % 16 == 0 ? bytes_.u32() : 24 + extra), u32(0);
    for (unsigned i = 0; i < entries; ++i) {
      entry(bytes_.address(), bytes_.address(), bytes_.u8() % 7);
      at_ += extra;
    }
  }
  // Separate ranges, more than any table holds.
  void scattered_map_tag() {
    const std::uint32_t entries = bytes_.u8() * 3u;
    const std::uint32_t stride = 1 + bytes_.u8();
    tag(6, 16 + entries * 24);
    u32(24), u32(0);
    for (std::uint64_t i = 0; i < entries; ++i) entry(i * stride << 12, 0x1000, 1 + stride % 2);
  }
  void rsdp_tag(std::uint32_t type, std::uint32_t size) {
    tag(type, 8 + size - bytes_.u8() % 2);
    memory_.put(at_, "RSD PTR ", bytes_.u8() % 9);
    at_ += size;
  }

  void tag(std::uint32_t type, std::size_t size) {
    at_ = (at_ + 7) & ~7ull;
    u32(type), u32(static_cast<std::uint32_t>(size));
  }
  void entry(std::uint64_t base, std::uint64_t length, std::uint32_t type) {
    memory_.u64(at_, base), memory_.u64(at_ + 8, length);
    at_ += 16;
    u32(type), u32(0);
  }
  void text(std::size_t length) {
    for (std::size_t i = 0; i < length; ++i) memory_.put(at_ + i, i % 11 == 7 ? " " : "x", 1);
    at_ += length;
    memory_.put(at_, "", 1);
    ++at_;
  }
  void u32(std::uint32_t value) {
    memory_.u32(at_, value);
    at_ += 4;
  }

  Bytes& bytes_;
  Memory memory_;
  std::uint8_t flaws_ = bytes_.u8();
  std::uint64_t at_ = structure() + 8;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  if (bytes.u8() % 4 == 0) {  // raw: the structure is the input
    const std::uint64_t at = bytes.address();
    const auto structure = bytes.all();
    Memory memory(kAt + structure.size());
    memory.put(kAt, structure);
    const std::uint32_t magic = boot::kMultiboot2Magic + (at % 7 == 0);
    forge::run(memory, magic, at % 3 == 0 ? at : kAt);
    return 0;
  }
  Forger forger(bytes);
  forge::run(forger.forge(), boot::kMultiboot2Magic, forger.structure());
  return 0;
}
