// ObjectCache<T>: a KmemCache whose objects are Ts.
// SPDX-License-Identifier: MIT
#pragma once
#include <new>
#include <type_traits>
#include <utility>

#include "mm/heap/kmem_cache.hpp"

namespace memory {

template <typename T>
class ObjectCache {
 public:
  // As KmemCache's constructor.
  ObjectCache(Heap& heap, std::string_view name)
      : cache_(heap, {.name = name,
                      .object_bytes = sizeof(T),
                      .align = alignof(T) < SlabCut::kMinStride ? SlabCut::kMinStride
                                                                : std::uint32_t{alignof(T)}}) {}

  // A new T(arguments...). Fails with no_memory.
  template <typename... Arguments>
  Result<T*> make(Arguments&&... arguments) {
    void* const room = TRY(cache_.allocate());
    return new (room) T(std::forward<Arguments>(arguments)...);
  }

  // Ends a T that make() returned, and takes its room back. A misuse is found before ~T runs, and panics: unlike memory
  // that a stranger hands in, what is ours by type cannot be wrong.
  void destroy(T* object) {
    if constexpr (!std::is_trivially_destructible_v<T>) {
      CHECK(cache_.misuse_of(object) == Error::ok);
      object->~T();
    }
    CHECK(cache_.release(object).ok());
  }

  KmemCache& cache() { return cache_; }
  const KmemCache& cache() const { return cache_; }

 private:
  KmemCache cache_;
};

}  // namespace memory
