// Names of addresses, from the table that the build puts into the image (docs/formats.md, section 4).
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>
#include <string_view>

#include "mm/base/format.hpp"

namespace kernel {

struct Symbol {
  std::string_view name;  // empty: no function is known to cover the address
  std::uint64_t offset = 0;
};

// Never fails: a missing or damaged table gives empty names. Any context, also after memory was corrupted.
Symbol symbol_at(std::uint64_t address);

// "0xffffffff80101234 kernel::kmain+0x34", or the address alone.
void write_code_address(memory::Writer& out, std::uint64_t address);
// The same for an address that a call returns to: it may lie behind the caller's last instruction.
void write_return_address(memory::Writer& out, std::uint64_t address);

}  // namespace kernel
