// HeapBreak: errors in the use of the heap, made on purpose, with all that is to be reported of them chosen by the caller.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "mm/memory_manager.hpp"

namespace memory {

// BREAK(name, what is done, what `offset` is).
#define MEMORY_HEAP_BREAKS(BREAK)                                                                      \
  BREAK(double_free, "an object is freed twice", "nothing")                                            \
  BREAK(late_double_free, "the same, and others are freed in between", "nothing")                      \
  BREAK(interior_free, "the inside of an object is freed", "how far inside")                           \
  BREAK(wild_free, "an address that is no object is freed", "how far into a frame that is somebody's") \
  BREAK(foreign_free, "an object is freed to somebody else", "even, odd: which of two others")         \
  BREAK(wrong_size_free, "an object is freed with another size", "the size")                           \
  BREAK(overflow_by_1, "the byte behind an object is written, then it is freed", "nothing")            \
  BREAK(overflow_by_8, "eight bytes behind an object are written", "nothing")                          \
  BREAK(overflow_into_next_page, "all bytes behind it up to the next page and in it", "nothing")       \
  BREAK(underflow, "bytes before an object are written", "how many, less one, modulo 8")               \
  BREAK(write_after_free, "a byte of an object that is free is written, then it is handed out", "where")

enum class HeapBreakKind : std::uint8_t {
#define BREAK(name, what, offset) name,
  MEMORY_HEAP_BREAKS(BREAK)
#undef BREAK
};
struct HeapBreakRow {
  std::string_view name;
  std::string_view what;
  std::string_view offset;
};
inline constexpr HeapBreakRow kHeapBreaks[] = {
#define BREAK(name, what, offset) {#name, what, offset},
    MEMORY_HEAP_BREAKS(BREAK)
#undef BREAK
};

// The kind of that name, or nothing.
std::optional<HeapBreakKind> heap_break_kind(std::string_view name);

struct HeapBreak {
  static constexpr unsigned kSites = 8;  // places in the program that call the heap
  static constexpr unsigned kObjects = 64;

  // Whose object it is to be: the number of a cache that Heap::create() made, or one of these.
  static constexpr unsigned kKmalloc = 0;
  static constexpr unsigned kKernelHeap = kCacheSlots;

  HeapBreakKind kind{};
  unsigned cache = kKmalloc;
  std::uint64_t bytes = 64;  // asked for; of a cache, its objects' size
  unsigned object = 0;       // how many objects are allocated before the one that is misused
  std::uint64_t offset = 0;  // as MEMORY_HEAP_BREAKS says
  unsigned site = 0;         // allocates; the next one frees; the one after that makes the error
};

// What was done: to compare with MemoryManager::last_misuse().
struct BrokenHeap {
  std::uint64_t object = 0;   // the one that was misused
  std::uint64_t address = 0;  // what was freed wrongly, or written to
  Error answer = Error::ok;   // what the heap said
};

// Makes the error and takes back all that it allocated. Where the policy is `panic` it does not return. Fails, and
// nothing was done, with invalid for numbers that make no sense, not_found for a cache that is none, no_memory.
Result<BrokenHeap> break_heap(MemoryManager& manager, const HeapBreak& wanted);

}  // namespace memory
