// SPDX-License-Identifier: MIT
#include "kernel/symbols.hpp"

extern "C" const unsigned char coronel_symbols_start[];
extern "C" const unsigned char coronel_symbols_end[];

namespace kernel {

namespace {

constexpr std::uint32_t kMagic = 0x4d59'5343;  // "CSYM"
constexpr std::uint64_t kImageBase = 0xffff'ffff'8000'0000;
constexpr std::size_t kMostNameBytes = 95;

struct Header {
  std::uint32_t magic;
  std::uint32_t count;
};
struct Entry {
  std::uint32_t offset;
  std::uint32_t name;
};

// The table as the linker enclosed it. The labels are two objects to the compiler: only integers may be
// subtracted.
struct Table {
  const unsigned char* start = coronel_symbols_start;
  std::size_t bytes = reinterpret_cast<std::uintptr_t>(coronel_symbols_end) -
                      reinterpret_cast<std::uintptr_t>(coronel_symbols_start);

  std::uint32_t count() const {
    if (bytes < sizeof(Header)) return 0;
    Header header;
    __builtin_memcpy(&header, start, sizeof header);
    const std::size_t room = (bytes - sizeof(Header)) / sizeof(Entry);
    return header.magic == kMagic && header.count <= room ? header.count : 0;
  }
  Entry entry(std::size_t index) const {
    Entry entry;
    __builtin_memcpy(&entry, start + sizeof(Header) + index * sizeof(Entry), sizeof entry);
    return entry;
  }
  std::string_view name(std::uint32_t count, std::uint32_t at) const {
    const std::size_t names = sizeof(Header) + std::size_t{count} * sizeof(Entry);
    if (at >= bytes - names) return {};
    const auto* text = reinterpret_cast<const char*>(start + names + at);
    std::size_t length = 0;
    const std::size_t most = bytes - names - at;
    while (length < most && length <= kMostNameBytes && text[length] != '\0') ++length;
    return length <= kMostNameBytes && length < most ? std::string_view(text, length) : std::string_view{};
  }
};

}  // namespace

Symbol symbol_at(std::uint64_t address) {
  const Table table;
  const std::uint32_t count = table.count();
  if (address < kImageBase || count == 0) return {};
  const std::uint64_t offset = address - kImageBase;

  // The last entry at or below: entries [0, low) are at or below, [high, count) above.
  std::size_t low = 0;
  std::size_t high = count;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (table.entry(middle).offset <= offset)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return {};
  const Entry entry = table.entry(low - 1);
  return {table.name(count, entry.name), offset - entry.offset};
}

namespace {

void write_named(memory::Writer& out, std::uint64_t address, std::uint64_t back) {
  out.address(address);
  const Symbol symbol = symbol_at(address - back);
  if (!symbol.name.empty()) out.text(" ").text(symbol.name).text("+").hex(symbol.offset + back);
}

}  // namespace

void write_code_address(memory::Writer& out, std::uint64_t address) { write_named(out, address, 0); }
void write_return_address(memory::Writer& out, std::uint64_t address) { write_named(out, address, 1); }

}  // namespace kernel
