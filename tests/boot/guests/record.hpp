// The kernel's side of docs/formats.md section 2, small enough for a test guest to get it wrong on purpose.
// SPDX-License-Identifier: MIT
#pragma once
#include "port.hpp"

namespace guest {

inline constexpr Word kMagic = 0x4c4e5243;
enum Kind : Byte { request = 1, reply = 2, refused = 3, event = 4 };

// 20 bytes, as on the wire.
struct Header {
  Word magic = kMagic;
  Word id = 0;
  unsigned short bytes = 0;
  Byte kind = 0;
  Byte part = 0;
  Word parts = 1;
  Word crc = 0;
};

inline Word crc32(Word crc, const void* data, Word bytes) {
  const auto* at = static_cast<const Byte*>(data);
  crc = ~crc;
  for (Word i = 0; i < bytes; ++i) {
    crc ^= at[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
  }
  return ~crc;
}

inline Word length(const char* text) {
  Word bytes = 0;
  while (text[bytes] != '\0') ++bytes;
  return bytes;
}

// What goes wrong on the way out.
struct Damage {
  Word skip_byte = ~0u;  // this byte of the record is lost
  Word flip_byte = ~0u;  // this one changes
};

inline void send(Header header, const char* payload, Damage damage = {}) {
  header.bytes = static_cast<unsigned short>(length(payload));
  header.crc = crc32(crc32(0, &header, 16), payload, header.bytes);
  const auto* head = reinterpret_cast<const Byte*>(&header);
  for (Word i = 0; i < sizeof header + header.bytes; ++i) {
    if (i == damage.skip_byte) continue;
    const Byte value = i < sizeof header ? head[i] : static_cast<Byte>(payload[i - sizeof header]);
    com2.write(static_cast<Byte>(value ^ (i == damage.flip_byte ? 0x40 : 0)));
  }
}

inline void send_event(const char* json) { send({.kind = event}, json); }

// Waits for a record and returns its header; the payload is thrown away.
inline Header receive() {
  Header header;
  auto* head = reinterpret_cast<Byte*>(&header);
  for (Word i = 0; i < sizeof header; ++i) head[i] = com2.read();
  for (Word i = 0; i < header.bytes; ++i) com2.read();
  return header;
}

}  // namespace guest
