// SPDX-License-Identifier: MIT
#include "kernel/backtrace.hpp"

#include <optional>

#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/image.hpp"
#include "kernel/symbols.hpp"
#include "mm/base/format.hpp"

namespace kernel {

namespace {

constexpr unsigned kMostLines = 24;

// What `push %rbp; mov %rsp, %rbp` leaves in memory.
struct Frame {
  std::uint64_t caller;  // the caller's %rbp; 0 at the end (entry.S clears it)
  std::uint64_t return_address;
};

// The stack that holds all of a frame at `address`.
std::optional<KernelStack> stack_of_frame(std::uint64_t address) {
  if (address % alignof(Frame) != 0) return std::nullopt;
  const auto stack = stack_holding(address);
  if (!stack.ok() || !stack.take().holds({address + sizeof(Frame) - 1})) return std::nullopt;
  return stack.take();
}

void write_line(memory::Sink& out, std::uint64_t return_address, std::string_view end = "\n") {
  memory::TextBuffer<160> line;
  line.text("  ");
  write_return_address(line, return_address);
  line.text(end);
  out.write(line.view());
}

void write_note(memory::Sink& out, std::string_view before, std::uint64_t number, std::string_view after) {
  memory::TextBuffer<120> line;
  line.text("  (").text(before).hex(number).text(after).text(")\n");
  out.write(line.view());
}

}  // namespace

void write_likely_caller(memory::Sink& out, std::uint64_t stack_pointer, std::uint64_t frame_pointer) {
  if (!stack_of_frame(stack_pointer)) return;
  const std::uint64_t word = *reinterpret_cast<const std::uint64_t*>(stack_pointer);
  if (word < address_of(text_start).value || word >= address_of(text_end).value) return;
  if (frame_pointer == stack_pointer - 8) return;  // the chain begins with this very word
  write_line(out, word, " ?\n");
}

void write_backtrace(memory::Sink& out, std::uint64_t frame_pointer) {
  std::uint64_t at = frame_pointer;
  KernelStack stack{};
  std::size_t stacks_left = kStackUses + 2;
  std::uint64_t frames = 0;
  while (at != 0) {
    const auto next = stack_of_frame(at);
    if (!next) return write_note(out, "the chain leads to ", at, ", which is on no stack");
    // A trap may go from its own stack to the interrupted one; each such step is taken at most once per
    // stack, and within a stack the chain must rise: so it ends.
    if (*next != stack && stacks_left-- == 0) return write_note(out, "the chain runs in circles at ", at, "");
    stack = *next;
    const auto* frame = reinterpret_cast<const Frame*>(at);
    if (++frames <= kMostLines) write_line(out, frame->return_address);
    if (frame->caller != 0 && stack.holds({frame->caller}) && frame->caller <= at) {
      return write_note(out, "the chain runs backwards to ", frame->caller, "");
    }
    at = frame->caller;
  }
  if (frames > kMostLines) {
    memory::TextBuffer<80> line;
    line.text("  (and ").number(frames - kMostLines).text(" more)\n");
    out.write(line.view());
  }
}

}  // namespace kernel
