// libFuzzer target: the PVH parser on start information whose every field may be anything.
// SPDX-License-Identifier: MIT
#include "boot/pvh.hpp"

#include "tests/fuzz/boot_forge.hpp"

namespace {

using forge::Bytes;
using forge::Memory;

constexpr std::uint64_t kStart = 0x100;
constexpr std::uint64_t kModules = 0x200;
constexpr std::uint64_t kTexts = 0x800;
constexpr std::uint64_t kMap = 0x2000;

// `usual` seven times in eight, else any address.
std::uint64_t mostly(Bytes& bytes, std::uint64_t usual) {
  return bytes.u8() % 8 == 7 ? bytes.address() : usual;
}

std::uint32_t forge_map(Bytes& bytes, Memory& memory) {
  const std::uint64_t map = memory.first() + kMap;
  const std::uint64_t base[] = {0, 0x9fc00, 0x100000};
  const std::uint64_t length[] = {0x9fc00, 0x400, 63 << 20};
  const std::uint32_t entries = bytes.u8() % 4 == 0 ? bytes.u8() * 2u : 3;
  const std::uint64_t stride = 1 + bytes.u8();
  for (std::uint32_t i = 0; i < entries; ++i) {
    const bool usual = i < 3 && bytes.u8() % 16 != 15;
    const bool regular = i >= 3 && stride % 2 == 0;
    memory.u64(map + i * 24, usual ? base[i] : regular ? i * stride << 12 : bytes.address());
    memory.u64(map + i * 24 + 8, usual ? length[i] : regular ? 0x1000 : bytes.address());
    memory.u32(map + i * 24 + 16, usual ? 1 + i % 2 : regular ? 1 : bytes.u8() % 9);
  }
  return entries;
}

std::uint32_t forge_modules(Bytes& bytes, Memory& memory) {
  const std::uint64_t list = memory.first() + kModules;
  const std::uint64_t texts = memory.first() + kTexts;
  const std::uint32_t modules = bytes.u8() % 40;
  for (std::uint32_t i = 0; i < modules; ++i) {
    memory.u64(list + i * 32, mostly(bytes, (2ull + i) << 20));
    memory.u64(list + i * 32 + 8, mostly(bytes, bytes.u8()));
    memory.u64(list + i * 32 + 16, mostly(bytes, texts + bytes.u8()));
  }
  return modules;
}

// As it should be, but for the fields that the input spoils.
Memory forge_all(Bytes& bytes) {
  Memory memory(kMap + 64 * std::size_t{bytes.u8()}, forge::first_address(bytes));
  const std::uint64_t first = memory.first();
  for (std::uint64_t i = first + kTexts; i < first + kMap; ++i) memory.put(i, i % 97 == 0 ? " " : "x", 1);
  memory.put(first + kTexts + bytes.u8() * 16u, "", 1);
  memory.put(first + kMap - 64, "RSD PTR ", 8);
  const std::uint32_t modules = forge_modules(bytes, memory);
  const std::uint32_t entries = forge_map(bytes, memory);

  const std::uint64_t start = first + kStart;
  memory.u32(start, static_cast<std::uint32_t>(mostly(bytes, boot::kPvhMagic)));
  memory.u32(start + 4, static_cast<std::uint32_t>(mostly(bytes, 1)));
  memory.u32(start + 12, static_cast<std::uint32_t>(mostly(bytes, modules)));
  memory.u64(start + 16, mostly(bytes, first + kModules));
  memory.u64(start + 24, mostly(bytes, first + kTexts + bytes.u8()));
  memory.u64(start + 32, mostly(bytes, first + kMap - 64));
  memory.u64(start + 40, mostly(bytes, first + kMap));
  memory.u32(start + 48, static_cast<std::uint32_t>(mostly(bytes, entries)));
  return memory;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  if (bytes.u8() % 8 == 0) {  // raw: the structure is the input
    const std::uint64_t at = bytes.address();
    const auto structure = bytes.all();
    Memory memory(kStart + structure.size());
    memory.put(kStart, structure);
    forge::run(memory, boot::kPvhMagic, at % 3 == 0 ? at : kStart);
    return 0;
  }
  const Memory memory = forge_all(bytes);
  forge::run(memory, boot::kPvhMagic, memory.first() + kStart);
  return 0;
}
