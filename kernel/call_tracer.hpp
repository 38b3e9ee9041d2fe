// What the memory manager asks of the kernel to say which calls led to an allocation.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/heap/call_tracer.hpp"

namespace kernel {

// Serves from the first allocation on; lives for ever.
const memory::CallTracer& call_tracer();

}  // namespace kernel
