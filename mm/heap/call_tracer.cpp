// SPDX-License-Identifier: MIT
//
// A frame is what `push %rbp; mov %rsp, %rbp` leaves: the caller's frame, then where the call returns to. Within a stack the
// chain rises and every frame is looked at before it is read, so it ends and cannot fault, whatever the stack holds.
#include "mm/heap/call_tracer.hpp"

namespace memory {

namespace {

struct CallFrame {
  std::uint64_t caller;
  std::uint64_t return_address;
};

constexpr unsigned kOwnFrames = 12;  // the heap's own before the site is met

}  // namespace

[[gnu::noinline]] void trace_callers(const CallTracer& tracer, ObjectTrack& track) {
  const VirtRange stack = tracer.stack();
  const VirtRange text = tracer.text();
  auto at = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  bool behind_site = false;
  std::size_t count = 0;
  for (unsigned frames = 0; frames < kOwnFrames + ObjectTrack::kCallers; ++frames) {
    if (at % alignof(CallFrame) != 0 || at < stack.first.value || at + sizeof(CallFrame) > stack.end.value)
      return;
    const CallFrame& frame = *reinterpret_cast<const CallFrame*>(at);
    if (behind_site) {
      if (!text.contains(VirtAddr{frame.return_address}) || count == ObjectTrack::kCallers) return;
      track.callers[count++] = static_cast<std::uint32_t>(frame.return_address - track.allocated.site);
    }
    behind_site = behind_site || frame.return_address == track.allocated.site;
    if (frame.caller <= at) return;
    at = frame.caller;
  }
}

}  // namespace memory
