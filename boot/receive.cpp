// One door for both protocols.
// SPDX-License-Identifier: MIT
#include "boot/receive.hpp"

#include "boot/multiboot2.hpp"
#include "boot/pvh.hpp"

namespace boot {

Result<void> receive(Builder& builder, std::uint32_t magic, PhysAddr information) {
  if (magic != kMultiboot2Magic && magic != kPvhMagic) {
    return builder.report().fatal(Fatal::unknown_protocol, magic);
  }
  if (information.value == 0) return builder.report().fatal(Fatal::no_information);
  return magic == kPvhMagic ? parse_pvh(builder, information) : parse_multiboot2(builder, information);
}

}  // namespace boot
