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

Result<Gfp> flags_of(std::uint64_t number) {
  const Gfp flags = number < kGfpEnd ? Gfp(static_cast<std::uint8_t>(number)) : Gfp{};
  if (!valid(flags)) return Error::invalid;
  return flags;
}

Result<std::uint64_t> perform_cache(MemoryManager& manager, const ObjectCall& call) {
  const auto [letter, number, second] = call;
  KmemCache* const cache =
      number < kCacheSlots ? manager.heap().made(static_cast<unsigned>(number)) : nullptr;
  if (cache == nullptr) return Error::not_found;
  if (letter == 'f') return zero_if(manager.cache_free(*cache, pointer(second)));
  return number_of(cache->allocate(TRY(flags_of(second))));
}

}  // namespace

Result<std::uint64_t> perform(MemoryManager& manager, const ObjectCall& call) {
  const auto [letter, first, second] = call;
  Kmalloc& kmalloc = manager.kmalloc();
  switch (letter) {
    case 'a':
    case 'f': return perform_cache(manager, call);
    case 'm': return number_of(kmalloc.allocate(first, TRY(flags_of(second))));
    case 'z': return number_of(kmalloc.allocate_zeroed(first, TRY(flags_of(second))));
    case 'c': return number_of(kmalloc.allocate_array(first, second));
    case 'n': return number_of(kmalloc.allocate(TRY(Kmalloc::array_bytes(first, second))));
    case 'k': return zero_if(manager.kfree(pointer(first)));
    case 'x': return zero_if(manager.kfree_sized(pointer(first), second));
    case 'r': return number_of(manager.krealloc(pointer(first), second));
    case 's': return std::uint64_t{TRY(kmalloc.usable_bytes(pointer(first)))};
    case 'h':
      return number_of(second == 0 ? manager.heap_malloc(first) : manager.heap_memalign(second, first));
    case 'g': return number_of(manager.heap_realloc(pointer(first), second));
    case 'd': return zero_if(manager.heap_free(pointer(first)));
    case 't': return std::uint64_t{manager.kernel_heap().shrink()};
    default: return Error::invalid;
  }
}

}  // namespace memory
