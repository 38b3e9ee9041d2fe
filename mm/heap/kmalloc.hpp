// Kmalloc: memory of any size: small sizes from a cache for each size class, large ones from frames.
// SPDX-License-Identifier: MIT
#pragma once
#include "mm/heap/heap.hpp"
#include "mm/heap/size_class.hpp"

namespace memory {

// Every address that it returns is aligned to 8 bytes, from 16 bytes on to 16, and for a power of two up to 8 MiB to that
// size. Its memory is directly mapped; its contents are undefined but where zeroes are promised. Flags: kernel, atomic,
// user; dma for memory below 16 MiB; highmem is invalid. From any CPU and from interrupt handlers, with no lock held below
// rank cache.
class Kmalloc {
 public:
  explicit Kmalloc(Heap& heap);
  Kmalloc(const Kmalloc&) = delete;
  Kmalloc& operator=(const Kmalloc&) = delete;

  static constexpr std::size_t kMaxBytes = bytes_in(kMaxOrder);

  // `bytes` bytes or a few more: usable_bytes() says how many. 0 bytes are served as one. Fails with no_memory; too_big
  // above kMaxBytes; invalid for flags that make no sense.
  [[gnu::always_inline]] Result<void*> allocate(std::size_t bytes, Gfp flags = Gfp::kernel) {
    if constexpr (kGuardedHeap) return allocate_guarded(bytes, flags);
    return take(bytes, flags, 0);
  }
  // The same for somebody else: `site` is the call that is written down where there is a track.
  Result<void*> allocate_for(std::size_t bytes, Gfp flags, std::uint64_t site) {
    return kGuardedHeap ? allocate_from(bytes, flags, site) : take(bytes, flags, site);
  }
  // The same, all usable bytes zero.
  Result<void*> allocate_zeroed(std::size_t bytes, Gfp flags = Gfp::kernel);
  // The same for an array, its bytes together; too_big where they are no size.
  Result<void*> allocate_array(std::size_t count, std::size_t bytes, Gfp flags = Gfp::kernel);
  static Result<std::size_t> array_bytes(std::size_t count, std::size_t bytes);

  // Takes back what allocate() or a sister returned. Fails, and nothing changed, with double_free, interior_object,
  // wild_object, or wrong_cache when it is the object of a cache that is not kmalloc's; with overflow or underflow as
  // KmemCache::release.
  [[gnu::always_inline]] Result<void> release(void* object) {
    if constexpr (kGuardedHeap) return release_guarded(object);
    return give(object, 0);
  }
  // The same for somebody else.
  Result<void> release_for(void* object, std::uint64_t site) {
    return kGuardedHeap ? release_from(object, site) : give(object, site);
  }
  // The same, and wrong_size when `bytes`, which is to be what was asked for last, is of another class than `object`.
  Result<void> release_sized(void* object, std::size_t bytes);

  // `object` with room for `bytes`: where it is while its class stays the same and it is not in the guard pool, else moved
  // with its contents, also when it becomes smaller, so that release_sized() knows it by its new size. A null object is
  // allocate(). Fails as allocate() and release() do; then `object` is as it was.
  Result<void*> resize(void* object, std::size_t bytes, Gfp flags = Gfp::kernel);

  // Bytes that may be used at `object`, in a guarded profile and in the guard pool just those that were asked for; the
  // misuse that release() would say.
  Result<std::size_t> usable_bytes(const void* object) const;
  Error misuse_of(const void* object) const;

  // A row for each class: what it is cut into, what a request wastes at worst, what is in use.
  void describe(Inspector& to) const;

 private:
  static constexpr unsigned kClasses = kSizeClasses.size();
  static constexpr unsigned kDmaClasses = 11;  // the powers of two
  static constexpr unsigned kCaches = kClasses + kDmaClasses;

  // Without guards. `site`: who asked; 0: who called this.
  [[gnu::always_inline]] Result<void*> take(std::size_t bytes, Gfp flags, std::uint64_t site) {
    if (bytes > kMaxClassBytes || has(flags, Gfp::dma | Gfp::highmem)) [[unlikely]]
      return allocate_slowly(bytes, flags);
    const unsigned which = size_class(bytes);
    SlotHold hold(first_number_ + which);
    if (void* const object = KmemCache::take_loaded(hold); object != nullptr) [[likely]]
      return object;
    return caches_[which].allocate_slowly(flags, hold.slot, hold.word, bytes, site);
  }
  [[gnu::always_inline]] Result<void> give(void* object, std::uint64_t site) {
    unsigned number = 0;
    std::uint8_t* const state = KmemCache::find_allocated(
        caches_[0].record_.window, reinterpret_cast<std::uint64_t>(object), [this, &number](unsigned tag) {
          number = tag;
          return tag - first_number_ < kCaches;
        });
    if (state == nullptr) [[unlikely]]
      return release_slowly(object, site);
    set_object(*state, ObjectState::cached);
    SlotHold hold(number);
    if (!KmemCache::put_loaded(hold, object, *state)) [[unlikely]]
      caches_[number - first_number_].release_slowly(object, *state, hold.slot, hold.word);
    return {};
  }
  static std::size_t dma_class(std::size_t bytes);
  Result<void*> allocate_slowly(std::size_t bytes, Gfp flags);
  Result<void> release_slowly(void* object, std::uint64_t site);
  Result<void*> allocate_large(std::size_t bytes, Gfp flags, std::uint64_t site = 0);
  Result<void> release_large(FrameNumber number);
  Result<std::size_t> room_bytes(const void* object) const;
  bool suits(const void* object, std::size_t bytes) const;
  bool in_guard_pool(const void* object) const;

  // With guards. `site`: who asked.
  Result<void*> allocate_guarded(std::size_t bytes, Gfp flags);
  Result<void> release_guarded(void* object);
  Result<void*> allocate_from(std::size_t bytes, Gfp flags, std::uint64_t site);
  Result<void> release_from(void* object, std::uint64_t site);
  void settle(void* object, std::size_t bytes);
  FrameNumber large_frame(const void* object) const;

  Heap& heap_;
  std::array<KmemCache, kCaches> caches_;
  unsigned first_number_;  // of caches_[0]; the others follow
};

}  // namespace memory
