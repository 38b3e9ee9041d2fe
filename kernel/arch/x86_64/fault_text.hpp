// What an exception's error code and address mean, in words.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/format.hpp"

namespace kernel {

struct TrapFrame;

// "page fault: write to 0xffffffff80101000 (the kernel's text), which is mapped without that right".
void write_page_fault(memory::Writer& out, std::uint64_t address, std::uint64_t error);

// Names the error code of a segment-related exception, or the registers that hold non-canonical addresses.
[[gnu::noinline]] void write_protection_fault(memory::Writer& out, const TrapFrame& frame);

// "the guard page of the boot stack", "the kernel's text", ...: what `address` is part of.
void write_region(memory::Writer& out, std::uint64_t address);

// "stack overflow of thread 7: ..." when `address` lies in the guard page below a stack; else false and nothing. Asks the
// ranges without their lock (MemoryManager::range_at_fault): the CPU that faults may hold it, and one that was stopped may,
// too.
bool write_stack_overflow(memory::Writer& out, std::uint64_t address);

}  // namespace kernel
