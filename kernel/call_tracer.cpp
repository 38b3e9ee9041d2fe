// SPDX-License-Identifier: MIT
#include "kernel/call_tracer.hpp"

#include "kernel/arch/x86_64/stacks.hpp"
#include "kernel/image.hpp"
#include "kernel/task/thread.hpp"

namespace kernel {

namespace {

using memory::VirtAddr;
using memory::VirtRange;

class KernelTracer final : public memory::CallTracer {
 public:
  // A thread's; before there are threads, and on a CPU's way to its first, one that is in the image.
  VirtRange stack() const override {
    const VirtAddr here{reinterpret_cast<std::uint64_t>(__builtin_frame_address(0))};
    const KernelStack& own = current_thread().stack;
    if (own.holds(here)) return {own.bottom, own.top};
    for (const KernelStack& stack : image_stacks().stacks)
      if (stack.holds(here)) return {stack.bottom, stack.top};
    return {};
  }
  VirtRange text() const override { return {address_of(text_start), address_of(text_end)}; }
};

constinit KernelTracer tracer;

}  // namespace

const memory::CallTracer& call_tracer() { return tracer; }

}  // namespace kernel
