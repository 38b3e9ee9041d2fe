// HeapCall, ObjectTrack: who called the heap, and what the guarded profile writes down of each object.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstdint>

#include "mm/base/config.hpp"

namespace memory {

static_assert(config::debug_slab || !config::debug_kmemleak,
              "debug_kmemleak keeps what it knows in debug_slab's tracks");

// A call of the heap: from where, by which CPU, when. Standard layout.
struct HeapCall {
  std::uint64_t site = 0;  // an address in the program, behind the call; 0: the profile does not record this
  std::uint64_t ns = 0;    // platform::now_ns()
  std::uint32_t cpu = 0;
  std::uint32_t unused = 0;

  static HeapCall from(std::uint64_t site);
};

// What a scan for leaks has said of an object (leak_scan.hpp).
enum class LeakState : std::uint32_t {
  none,      // a pointer led to it, or it came after the last scan
  reported,  // none did
  known,     // the same, and somebody has said that he knows: it is not reported again
};

// Of one object, with config::debug_slab. Lies in its slab's record, so that nothing which runs over an object's end
// reaches it.
struct ObjectTrack {
  HeapCall allocated;
  HeapCall freed;  // site 0 while the object is allocated
  std::uint64_t requested = 0;
  std::uint64_t next = 0;  // in the quarantine: the address of the object that was released after it
  // With config::debug_kmemleak, where the calls before allocated.site return to, the nearest first, as signed distances from it;
  // 0 ends them.
  static constexpr std::size_t kCallers = 8;
  std::array<std::uint32_t, kCallers> callers{};
  LeakState leak = LeakState::none;
  std::uint32_t unused = 0;

  // The n-th of them; 0 behind the last.
  std::uint64_t caller(std::size_t n) const {
    const auto distance = static_cast<std::int32_t>(callers[n]);
    return distance == 0 ? 0 : allocated.site + static_cast<std::uint64_t>(std::int64_t{distance});
  }
};
static_assert(sizeof(ObjectTrack) == 104);

}  // namespace memory
