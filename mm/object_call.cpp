// ObjectCall: which call it is.
// SPDX-License-Identifier: MIT
#include "mm/object_call.hpp"

namespace memory {

namespace {

Result<std::uint64_t> number_of(Result<void*> object) {
  if (!object.ok()) return object.error();
  return reinterpret_cast<std::uint64_t>(object.take());
}

Result<std::uint64_t> zero_if(Result<void> released) {
  if (!released.ok()) return released.error();
  return std::uint64_t{0};
}

void* pointer(std::uint64_t address) { return reinterpret_cast<void*>(address); }

// A Gfp that is not valid where the number is none.
Gfp flags_of(std::uint64_t number) {
  return number < kGfpEnd ? Gfp(static_cast<std::uint8_t>(number)) : Gfp{};
}

}  // namespace

Result<std::uint64_t> perform(MemoryManager& manager, const ObjectCall& call) {
  const auto [letter, first, second] = call;
  if (letter == 'a' || letter == 'f') {
    KmemCache* const cache =
        first < kCacheSlots ? manager.heap().made(static_cast<unsigned>(first)) : nullptr;
    if (cache == nullptr) return Error::not_found;
    if (letter == 'f') return zero_if(manager.cache_free(*cache, pointer(second)));
    if (!valid(flags_of(second))) return Error::invalid;
    return number_of(cache->allocate(flags_of(second)));
  }
  switch (letter) {
    case 'm':
    case 'z':
      if (!valid(flags_of(second))) return Error::invalid;
      return number_of(letter == 'm' ? manager.kmalloc().allocate(first, flags_of(second))
                                     : manager.kmalloc().allocate_zeroed(first, flags_of(second)));
    case 'k': return zero_if(manager.kfree(pointer(first)));
    case 'x': return zero_if(manager.kfree_sized(pointer(first), second));
    case 'r': return number_of(manager.krealloc(pointer(first), second));
    case 's': {
      const auto bytes = manager.kmalloc().usable_bytes(pointer(first));
      if (!bytes.ok()) return bytes.error();
      return std::uint64_t{bytes.take()};
    }
    default: return Error::invalid;
  }
}

}  // namespace memory
