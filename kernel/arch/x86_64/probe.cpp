// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/probe.hpp"

extern "C" void probe_fault();

namespace kernel {

bool ends_probe(TrapFrame& frame) {
  if (frame.rip != reinterpret_cast<std::uint64_t>(&probe_read) &&
      frame.rip != reinterpret_cast<std::uint64_t>(&probe_write))
    return false;
  frame.rip = reinterpret_cast<std::uint64_t>(&probe_fault);
  return true;
}

}  // namespace kernel
