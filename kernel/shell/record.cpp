// SPDX-License-Identifier: MIT
#include "kernel/shell/record.hpp"

namespace kernel::shell {

namespace {

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb8'8320 : crc >> 1;
    table[byte] = crc;
  }
  return table;
}();

}  // namespace

std::uint32_t crc32(std::uint32_t crc, const void* bytes, std::size_t count) {
  const auto* byte = static_cast<const std::uint8_t*>(bytes);
  crc = ~crc;
  for (std::size_t i = 0; i < count; ++i) crc = crc >> 8 ^ kCrcTable[(crc ^ byte[i]) & 0xff];
  return ~crc;
}

std::uint32_t crc_of(const RecordHeader& header, std::string_view payload) {
  const std::uint32_t head = crc32(0, &header, RecordHeader::kCheckedBytes);
  return crc32(head, payload.data(), payload.size());
}

}  // namespace kernel::shell
