// ObjectCall: one call of the floor of objects as data, so that many can be sent at once; the same for the C face and the
// console.
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <iterator>

#include "mm/memory_manager.hpp"

namespace memory {

// CALL(letter, name, what `first` and `second` are, what comes of it). Numbers are those of caches that Heap::create()
// made. Who is given no flags has those of the kernel.
#define MEMORY_OBJECT_CALLS(CALL)                                                       \
  CALL('a', cache_alloc, "NUMBER/FLAGS: an address")                                    \
  CALL('f', cache_free, "NUMBER/ADDRESS: 0")                                            \
  CALL('m', kmalloc, "BYTES/FLAGS: an address")                                         \
  CALL('z', kzalloc, "BYTES/FLAGS: an address")                                         \
  CALL('c', kcalloc, "COUNT/BYTES: an address")                                         \
  CALL('n', kmalloc_array, "COUNT/BYTES: an address")                                   \
  CALL('k', kfree, "ADDRESS/0: 0")                                                      \
  CALL('x', kfree_sized, "ADDRESS/BYTES: 0")                                            \
  CALL('r', krealloc, "ADDRESS/BYTES: an address; 0 asks for new memory")               \
  CALL('s', ksize, "ADDRESS/0: bytes")                                                  \
  CALL('h', heap_malloc, "BYTES/ALIGN: an address; 0 leaves the alignment to the heap") \
  CALL('g', heap_realloc, "ADDRESS/BYTES: an address; 0 asks for a new block")          \
  CALL('d', heap_free, "ADDRESS/0: 0")                                                  \
  CALL('t', heap_shrink, "0/0: pages that were given back")

struct ObjectCall {
  char letter = 0;
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};

constexpr bool is_object_call(char letter) {
#define CALL(which, name, what) which,
  constexpr char kLetters[] = {MEMORY_OBJECT_CALLS(CALL)};
#undef CALL
  return std::ranges::find(kLetters, letter) != std::end(kLetters);
}

// Precondition: is_object_call(call.letter). Fails as the call does, with not_found for a number that is no such cache.
Result<std::uint64_t> perform(MemoryManager& manager, const ObjectCall& call);

}  // namespace memory
