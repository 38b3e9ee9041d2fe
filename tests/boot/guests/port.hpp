// What a test guest needs of the machine: its ports, its two serial lines, its exit.
// SPDX-License-Identifier: MIT
#pragma once

namespace guest {

using Byte = unsigned char;
using Word = unsigned int;

inline void out8(unsigned short port, Byte value) { asm volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
inline void out32(unsigned short port, Word value) { asm volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
inline Byte in8(unsigned short port) {
  Byte value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// A 16550 (PC16550D data sheet, section 8), used by polling.
class Serial {
 public:
  explicit constexpr Serial(unsigned short base) : base_(base) {}

  void use_queue() const { out8(base_ + 2, 0xc7); }  // 16 bytes each way
  void write(Byte value) const {
    while ((in8(base_ + 5) & 0x20) == 0) {
    }
    out8(base_, value);
  }
  void write_without_looking(Byte value) const { out8(base_, value); }
  void write(const char* text) const {
    for (; *text != '\0'; ++text) write(static_cast<Byte>(*text));
  }
  Byte read() const {
    while ((in8(base_ + 5) & 1) == 0) {
    }
    return in8(base_);
  }

 private:
  unsigned short base_;
};

inline constexpr Serial com1{0x3f8};
inline constexpr Serial com2{0x2f8};

// QEMU ends with (value << 1) | 1.
inline void exit_with(Word value) { out32(0xf4, value); }

[[noreturn]] inline void hang() {
  for (;;) asm volatile("cli; pause");
}

}  // namespace guest
