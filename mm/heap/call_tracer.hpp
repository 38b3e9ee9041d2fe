// CallTracer: who called whoever calls the heap, by frame pointers, no further than the home says that a stack goes.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/base/range.hpp"
#include "mm/heap/object_track.hpp"

namespace memory {

// What the home knows of the code that runs: declared here, implemented by a home whose code keeps frame pointers.
class CallTracer {
 public:
  // The stack that this runs on; empty where that is not known. Takes no lock; in any context.
  virtual VirtRange stack() const = 0;
  // The program: what a call in it returns to lies there.
  virtual VirtRange text() const = 0;

 protected:
  ~CallTracer() = default;
};

// Writes down which calls led to the one that returns to track.allocated.site: none where the chain of frames does not
// come by there, and no further than it is whole. Precondition: called, however deep, by the function that the call is of.
void trace_callers(const CallTracer& tracer, ObjectTrack& track);

}  // namespace memory
