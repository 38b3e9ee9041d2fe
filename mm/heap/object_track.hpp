// HeapCall, ObjectTrack: who called the heap, and what the guarded profile writes down of each object.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

namespace memory {

// A call of the heap: from where, by which CPU, when. Standard layout.
struct HeapCall {
  std::uint64_t site = 0;  // an address in the program, behind the call; 0: the profile does not record this
  std::uint64_t ns = 0;    // platform::now_ns()
  std::uint32_t cpu = 0;
  std::uint32_t unused = 0;

  static HeapCall from(std::uint64_t site);
};

// Of one object, with config::debug_slab. Lies in its slab's record, so that nothing which runs over an object's end
// reaches it.
struct ObjectTrack {
  HeapCall allocated;
  HeapCall freed;  // site 0 while the object is allocated
  std::uint64_t requested = 0;
};

}  // namespace memory
