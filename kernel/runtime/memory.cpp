// What the compiler calls without being asked: the memory functions of C.
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdint>

// Sizes the compiler knows are expanded in place, so what arrives here is long or variable. 8 bytes at a time
// with `rep`: QEMU counts each turn as an instruction, and processors since 2013 take their fast path either
// way.
extern "C" {

void* memcpy(void* to, const void* from, std::size_t bytes) {
  void* at = to;
  std::size_t words = bytes / 8;
  std::size_t rest = bytes % 8;
  asm volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(words) : : "memory");
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(rest) : : "memory");
  return to;
}

void* memmove(void* to, const void* from, std::size_t bytes) {
  // Unsigned: also true when `to` lies below `from`.
  if (reinterpret_cast<std::uintptr_t>(to) - reinterpret_cast<std::uintptr_t>(from) >= bytes) {
    return memcpy(to, from, bytes);
  }
  auto* last_to = static_cast<std::byte*>(to) + bytes - 1;
  const auto* last_from = static_cast<const std::byte*>(from) + bytes - 1;
  asm volatile("std; rep movsb; cld" : "+D"(last_to), "+S"(last_from), "+c"(bytes) : : "memory");
  return to;
}

void* memset(void* to, int value, std::size_t bytes) {
  void* at = to;
  std::size_t words = bytes / 8;
  std::size_t rest = bytes % 8;
  const std::uint64_t pattern = 0x0101'0101'0101'0101 * static_cast<std::uint8_t>(value);
  asm volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(pattern) : "memory");
  asm volatile("rep stosb" : "+D"(at), "+c"(rest) : "a"(pattern) : "memory");
  return to;
}

int memcmp(const void* left, const void* right, std::size_t bytes) {
  const auto* a = static_cast<const unsigned char*>(left);
  const auto* b = static_cast<const unsigned char*>(right);
  for (std::size_t i = 0; i < bytes; ++i) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

std::size_t strlen(const char* text) {
  std::size_t length = 0;
  while (text[length] != '\0') ++length;
  return length;
}

void* memchr(const void* bytes, int value, std::size_t count) {
  const auto* at = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < count; ++i) {
    if (at[i] == static_cast<unsigned char>(value)) return const_cast<unsigned char*>(at + i);
  }
  return nullptr;
}

}  // extern "C"
