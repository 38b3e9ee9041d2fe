// The C face's floor of objects: caches, kmalloc, the kernel heap.
// SPDX-License-Identifier: MIT
#include "mm/heap_break.hpp"
#include "mm/host/capi.hpp"
#include "mm/object_call.hpp"

using namespace memory;
using namespace memory::host;

namespace {

[[gnu::always_inline]] inline Result<Gfp> flags_of(unsigned gfp_flags) {
  // Most requests name no zone.
  if (gfp_flags - 1 < raw(Gfp::highmem) - 1) [[likely]]
    return Gfp{static_cast<std::uint8_t>(gfp_flags)};
  if (gfp_flags >= kGfpEnd || !valid(Gfp{static_cast<std::uint8_t>(gfp_flags)})) return Error::invalid;
  return Gfp{static_cast<std::uint8_t>(gfp_flags)};
}

// The cache behind a handle of the C face, whatever that is.
Result<KmemCache*> cache_of(MemoryManager& manager, kmem_cache* handle) {
  KmemCache* const found = manager.heap().made_at(handle);
  if (found == nullptr) return Error::not_found;
  return found;
}

// Runs body(MemoryManager&, KmemCache&), which returns a Result<void>.
template <typename Body>
int on_cache(kmem_cache* handle, Body&& body) {
  return outcome_of(
      [&](MemoryManager& manager) -> Result<void> { return body(manager, *TRY(cache_of(manager, handle))); });
}

int answer(const Result<void*>& made, uint64_t* address) {
  if (made.ok()) *address = reinterpret_cast<uint64_t>(made.take());
  return negative(made.error());
}

}  // namespace

kmem_cache* kmem_cache_create(const char* name, size_t size, size_t align, unsigned flags,
                              void (*ctor)(void*)) {
  return static_cast<kmem_cache*>(object_of([&](MemoryManager& manager) -> Result<void*> {
    const std::size_t alignment = align == 0 ? SlabCut::kMinStride : align;
    if (name == nullptr || flags > SLAB_CACHE_DMA || alignment > kPageSize) return Error::invalid;
    if (size > SlabCut::kMaxBytes) return Error::too_big;
    return TRY(manager.heap().create({.name = name,
                                      .object_bytes = static_cast<std::uint32_t>(size),
                                      .align = static_cast<std::uint32_t>(alignment),
                                      .zone = flags == SLAB_CACHE_DMA ? Gfp::dma : Gfp::kernel,
                                      .construct = ctor}));
  }));
}

int kmem_cache_destroy(kmem_cache* cache) {
  return on_cache(cache,
                  [](MemoryManager& manager, KmemCache& found) { return manager.heap().destroy(found); });
}

void* kmem_cache_alloc(kmem_cache* cache, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    KmemCache* const found = TRY(cache_of(manager, cache));
    const Gfp flags = TRY(flags_of(gfp_flags));
    return found->allocate(flags);
  });
}

int kmem_cache_free(kmem_cache* cache, void* object) {
  return on_cache(
      cache, [=](MemoryManager& manager, KmemCache& found) { return manager.cache_free(found, object); });
}

int kmem_cache_alloc_bulk(kmem_cache* cache, unsigned gfp_flags, size_t count, void** objects) {
  return on_cache(cache, [=](MemoryManager&, KmemCache& found) -> Result<void> {
    return found.allocate_bulk({objects, count}, TRY(flags_of(gfp_flags)));
  });
}

int kmem_cache_free_bulk(kmem_cache* cache, size_t count, void** objects) {
  return on_cache(cache,
                  [=](MemoryManager&, KmemCache& found) { return found.release_bulk({objects, count}); });
}

int64_t kmem_cache_shrink(kmem_cache* cache) {
  std::uint64_t frames = 0;
  const int status = on_cache(cache, [&](MemoryManager&, KmemCache& found) -> Result<void> {
    frames = found.shrink();
    return {};
  });
  return status < 0 ? status : static_cast<int64_t>(frames);
}

void* kmalloc(size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.kmalloc().allocate(size, TRY(flags_of(gfp_flags)));
  });
}

void* kzalloc(size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.kmalloc().allocate_zeroed(size, TRY(flags_of(gfp_flags)));
  });
}

void* kcalloc(size_t count, size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.kmalloc().allocate_array(count, size, TRY(flags_of(gfp_flags)));
  });
}

void* kmalloc_array(size_t count, size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.kmalloc().allocate(TRY(Kmalloc::array_bytes(count, size)), TRY(flags_of(gfp_flags)));
  });
}

void* krealloc(void* object, size_t size, unsigned gfp_flags) {
  return object_of([&](MemoryManager& manager) -> Result<void*> {
    return manager.krealloc(object, size, TRY(flags_of(gfp_flags)));
  });
}

int kfree(void* object) {
  return outcome_of([=](MemoryManager& manager) { return manager.kfree(object); });
}

int kfree_sized(void* object, size_t size) {
  return outcome_of([=](MemoryManager& manager) { return manager.kfree_sized(object, size); });
}

size_t ksize(const void* object) {
  std::size_t bytes = 0;
  (void)on_machine([&](memory::Machine& machine) {
    const auto usable = machine.manager().kmalloc().usable_bytes(object);
    if (usable.ok()) bytes = usable.take();
    return negative(usable.error());
  });
  return bytes;
}

int64_t mm_run_objects(mm_object_call* calls, size_t count) {
  return run_calls(calls, count, [](memory::Machine& machine, mm_object_call& call) {
    const char letter = call.letter < 128 ? static_cast<char>(call.letter) : '\0';
    if (!is_object_call(letter)) return false;
    note(call, perform(machine.manager(), ObjectCall{letter, call.first, call.second}));
    return true;
  });
}

unsigned mm_cache_number(const kmem_cache* cache) {
  unsigned number = 0;
  (void)on_cache(const_cast<kmem_cache*>(cache), [&](MemoryManager&, KmemCache& found) -> Result<void> {
    number = found.number();
    return {};
  });
  return number;
}

kmem_cache* mm_cache(unsigned number) {
  return static_cast<kmem_cache*>(object_of([=](MemoryManager& manager) -> Result<void*> {
    KmemCache* const found = number < kCacheSlots ? manager.heap().made(number) : nullptr;
    if (found == nullptr) return Error::not_found;
    return static_cast<void*>(found);
  }));
}

int mm_shrink(void) {
  return on_machine([](memory::Machine& machine) {
    (void)machine.manager().kernel_heap().shrink();
    (void)machine.manager().heap().shrink();
    return 0;
  });
}

int mm_heap_malloc(uint64_t bytes, uint64_t align, uint64_t* address) {
  return on_machine([&](memory::Machine& machine) {
    MemoryManager& manager = machine.manager();
    return answer(align == 0 ? manager.heap_malloc(bytes) : manager.heap_memalign(align, bytes), address);
  });
}

int mm_heap_realloc(uint64_t payload, uint64_t bytes, uint64_t* address) {
  return on_machine([&](memory::Machine& machine) {
    return answer(machine.manager().heap_realloc(reinterpret_cast<void*>(payload), bytes), address);
  });
}

int mm_heap_free(uint64_t payload) {
  return on_machine([&](memory::Machine& machine) {
    return negative(machine.manager().heap_free(reinterpret_cast<void*>(payload)).error());
  });
}

int64_t mm_heap_shrink(void) {
  return on_machine([](memory::Machine& machine) -> int64_t {
    return static_cast<int64_t>(machine.manager().kernel_heap().shrink());
  });
}

int mm_break_heap(const char* kind, unsigned cache, uint64_t bytes, unsigned object, uint64_t offset,
                  unsigned site, mm_broken_heap* broken) {
  return on_machine([&](memory::Machine& machine) {
    const auto known = heap_break_kind(kind);
    if (!known) return negative(Error::invalid);
    const auto done = break_heap(
        machine.manager(),
        {.kind = *known, .cache = cache, .bytes = bytes, .object = object, .offset = offset, .site = site});
    if (!done.ok()) return negative(done.error());
    const BrokenHeap& what = done.take();
    *broken = {.object = what.object, .address = what.address, .error = static_cast<uint32_t>(what.answer)};
    return 0;
  });
}
