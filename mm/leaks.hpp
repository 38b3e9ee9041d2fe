// Leaks: what is asked about objects that nobody can reach: look for them, list them, say that they are known.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/memory_manager.hpp"

namespace memory {

class Inspector;

// MemoryManager::find_leaks; what it found stays written in the tracks. Fails with unsupported in a build without
// config::debug_kmemleak.
Result<LeakCount> look_for_leaks(MemoryManager& manager, LeakRoots& roots);

// Makes all that were reported known: they are no news any more, nor is what only they lead to. How many.
std::uint64_t clear_leaks(MemoryManager& manager);

// Calls body(const HeapObject&), by address, for each object that the last scan reported and that is allocated still; each
// has a track. Precondition: nobody allocates or releases.
template <typename Body>
void for_each_leak(const MemoryManager& manager, Body&& body) {
  if constexpr (!config::debug_kmemleak) return;
  for_each_object(manager.physical().frames(), [&body](const HeapObject& object) {
    if (object.track != nullptr && object.track->leak == LeakState::reported) body(object);
  });
}

// How many there are, and of those from the `first` on no more than kLeaksShown with all that is known of them. `name`
// puts the address that a call returns to into words.
inline constexpr std::uint64_t kLeaksShown = 10;
void describe_leaks(Inspector& to, const MemoryManager& manager, std::uint64_t first,
                    Vmalloc::NameCaller name);

}  // namespace memory
