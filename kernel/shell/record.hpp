// Records on COM2: the header and its check sum (docs/formats.md, section 2).
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kernel::shell {

enum class RecordKind : std::uint8_t { request = 1, reply = 2, refused = 3, event = 4 };

struct RecordHeader {
  static constexpr std::uint32_t kMagic = 0x4c4e'5243;  // "CRNL"
  static constexpr std::size_t kMostPayload = 4076;
  static constexpr std::size_t kCheckedBytes = 16;  // of the header: all before the check sum itself

  std::uint32_t magic = kMagic;
  std::uint32_t id = 0;
  std::uint16_t bytes = 0;
  RecordKind kind{};
  std::uint8_t part = 0;
  std::uint32_t parts = 1;
  std::uint32_t crc = 0;
};
static_assert(sizeof(RecordHeader) == 20);

// CRC-32 of IEEE 802.3, reflected, as zlib.crc32: start with crc = 0, feed the result back in for more bytes.
std::uint32_t crc32(std::uint32_t crc, const void* bytes, std::size_t count);

// The check sum of a record.
std::uint32_t crc_of(const RecordHeader& header, std::string_view payload);

}  // namespace kernel::shell
