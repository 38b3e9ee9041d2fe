// SPDX-License-Identifier: MIT
#include "kernel/console.hpp"

#include "kernel/drivers/serial.hpp"

namespace kernel {

void print(std::string_view text) {
  for (const char byte : text) {
    if (byte == '\n') com1.write_byte('\r');
    com1.write_byte(static_cast<std::uint8_t>(byte));
  }
}

}  // namespace kernel
