// Probes: one word read or written where a page fault is an answer, and not the end.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "kernel/arch/x86_64/trap.hpp"

extern "C" {
// False when the access faulted; then nothing was read or written. One instruction touches `at`.
bool probe_read(const volatile std::uint64_t* at, std::uint64_t* value);
bool probe_write(volatile std::uint64_t* at, std::uint64_t value);
}

namespace kernel {

// For the handler of page faults: true when the fault is a probe's, which goes on with its answer.
bool ends_probe(TrapFrame& frame);

}  // namespace kernel
