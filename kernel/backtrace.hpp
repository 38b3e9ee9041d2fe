// Backtraces by frame pointer, safe on a corrupt stack.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/stats/inspector.hpp"

namespace kernel {

// Writes one line for each caller, innermost first, beginning at the frame that %rbp == `frame_pointer`
// names. Reads only inside the kernel's own stacks and only upward, so it ends and cannot fault, whatever the
// stack holds. Says how many frames it left out, or why the chain broke.
void write_backtrace(memory::Sink& out, std::uint64_t frame_pointer);

// The line for the word at `stack_pointer`, marked with ?, when it looks like a return address that the chain
// does not know: the caller of a leaf function without a frame, or of a jump to nowhere. `frame_pointer`: as
// above.
void write_likely_caller(memory::Sink& out, std::uint64_t stack_pointer, std::uint64_t frame_pointer);

// The frame pointer of the function that calls this.
[[gnu::always_inline]] inline std::uint64_t frame_pointer() {
  return reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
}

}  // namespace kernel
