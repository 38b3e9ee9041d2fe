// Kmalloc: large sizes, other zones, and what is wrong with an address.
// SPDX-License-Identifier: MIT
//
// Theory. The cache of a small object is known by the tag of its frame, so a release needs no size and no cache: the
// numbers of kmalloc's caches follow each other. A large object is a block of frames whose first Frame says so; it has two
// references, so neither free_pages() nor a cache takes it.
#include "mm/heap/kmalloc.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "mm/heap/large_guard.hpp"
#include "mm/stats/inspector.hpp"

namespace memory {

namespace {

constexpr auto kLarge = static_cast<std::uint8_t>(FrameTag::large_object);

template <std::size_t index>
constexpr auto kName = size_class_detail::name_of("kmalloc-", kSizeClasses[index]);
template <std::size_t power>
constexpr auto kDmaName = size_class_detail::name_of("dma-kmalloc-", 8u << power);

// A table, for the caches are made on a kernel's stack.
template <std::size_t... index, std::size_t... power>
constexpr std::array<CacheShape, sizeof...(index) + sizeof...(power)> shapes(std::index_sequence<index...>,
                                                                             std::index_sequence<power...>) {
  return {
      {{.name = kName<index>.view(), .object_bytes = kSizeClasses[index], .align = align_of_class(index)}...,
       {.name = kDmaName<power>.view(),
        .object_bytes = 8u << power,
        .align = std::min(8u << power, 4096u),
        .zone = Gfp::dma}...}};
}
template <std::size_t classes, std::size_t dma_classes>
constexpr auto kShapes = shapes(std::make_index_sequence<classes>(), std::make_index_sequence<dma_classes>());

template <std::size_t count, std::size_t... n>
std::array<KmemCache, count> make(Heap& heap, const std::array<CacheShape, count>& shapes,
                                  std::index_sequence<n...>) {
  return {{KmemCache(heap, shapes[n])...}};
}

// With red zones a page and its alignment do not fit into a class: frames serve more.
constexpr std::size_t kMaxServed = config::debug_slab ? kPageSize : kMaxClassBytes;

bool has_guard(std::size_t bytes) {
  return config::debug_slab && large_guard::total(bytes) <= Kmalloc::kMaxBytes;
}

Order order_for(std::size_t requested) {
  const std::size_t bytes = has_guard(requested) ? large_guard::total(requested) : requested;
  return Order{static_cast<std::uint8_t>(std::bit_width((bytes - 1) / kPageSize))};
}

large_guard::Block guarded_block(const void* object, const Frame& frame) {
  return {.bytes = static_cast<std::uint8_t*>(const_cast<void*>(object)), .size = bytes_in(frame.order())};
}

// Whether somebody wrote behind that large object. One that fills the largest block has no guard.
bool is_damaged(const large_guard::Block& block) {
  const bool guarded = block.whole_trail() != nullptr || block.size < Kmalloc::kMaxBytes;
  return guarded && block.damage() != nullptr;
}

}  // namespace

Kmalloc::Kmalloc(Heap& heap)
    : heap_(heap),
      caches_(make(heap, kShapes<kClasses, kDmaClasses>, std::make_index_sequence<kCaches>())),
      first_number_(caches_[0].number()) {
  for (unsigned n = 0; n < kCaches; ++n) CHECK(caches_[n].number() == first_number_ + n);
}

// ---- allocation -------------------------------------------------------------------------------------------------

Result<void*> Kmalloc::allocate_large(std::size_t bytes, Gfp flags, std::uint64_t site) {
  if (bytes > kMaxBytes) return Error::too_big;
  Physical& physical = heap_.physical();
  const FrameNumber number = TRY(physical.allocate(order_for(bytes), flags));
  Frame& frame = physical.frames()[number];
  frame.uses.store(Frame::uses_of(2, 0), std::memory_order_relaxed);
  frame.tag.store(kLarge, std::memory_order_relaxed);
  std::byte* const object = physical.frames().open(number).bytes();
  if (has_guard(bytes)) {
    const large_guard::Block block = guarded_block(object, frame);
    block.lay(bytes, HeapCall::from(site));
    if constexpr (config::debug_kmemleak) heap_.trace(block.trail()->track);
  }
  return static_cast<void*>(object);
}

// The number of the cache for so many bytes below 16 MiB.
std::size_t Kmalloc::dma_class(std::size_t bytes) {
  return kClasses + std::bit_width((std::max<std::size_t>(bytes, 8) - 1) / 8);
}

[[gnu::noinline]] Result<void*> Kmalloc::allocate_slowly(std::size_t bytes, Gfp flags) {
  if (!memory::valid(flags) || has(flags, Gfp::highmem)) return Error::invalid;
  if (bytes > kMaxClassBytes) return allocate_large(bytes, flags);
  return caches_[dma_class(bytes)].allocate(flags);
}

[[gnu::noinline]] Result<void*> Kmalloc::allocate_zeroed(std::size_t bytes, Gfp flags) {
  const auto site = reinterpret_cast<std::uint64_t>(__builtin_return_address(0));
  void* const object = TRY(allocate_for(bytes, flags, site));
  std::memset(object, 0, usable_bytes(object).take());
  return object;
}

Result<std::size_t> Kmalloc::array_bytes(std::size_t count, std::size_t bytes) {
  std::size_t product = 0;
  if (__builtin_mul_overflow(count, bytes, &product)) return Error::too_big;
  return product;
}

Result<void*> Kmalloc::allocate_array(std::size_t count, std::size_t bytes, Gfp flags) {
  return allocate_zeroed(TRY(array_bytes(count, bytes)), flags);
}

// ---- addresses --------------------------------------------------------------------------------------------------

// The first frame of the large object that begins at `object`, or kNoFrame.
[[gnu::always_inline]] inline FrameNumber Kmalloc::large_frame(const void* object) const {
  const FrameTable& frames = heap_.physical().frames();
  const auto address = reinterpret_cast<std::uint64_t>(object);
  if (address % kPageSize != 0) return kNoFrame;
  const FrameNumber frame = frames.frame_behind(address);
  if (frame == kNoFrame || frames[frame].tag.load(std::memory_order_relaxed) != kLarge) return kNoFrame;
  return frame;
}

// What release() says of an address, and changes nothing.
Error Kmalloc::misuse_of(const void* object) const {
  if (large_frame(object) != kNoFrame) return Error::ok;
  const Error error = caches_[0].misuse_of(object);  // any cache: it knows whose an object is
  if (error != Error::wrong_cache) return error;
  const Slab* const slab = caches_[0].slab_at(object);
  return slab->number - first_number_ < kCaches ? slab->cache->misuse_of(object) : error;
}

// What serves the object.
Result<std::size_t> Kmalloc::room_bytes(const void* object) const {
  if (const FrameNumber frame = large_frame(object); frame != kNoFrame)
    return bytes_in(heap_.physical().frames()[frame].order());
  if (const Error error = misuse_of(object); error != Error::ok) return error;
  const Slab& slab = *caches_[0].slab_at(object);
  return std::size_t{slab.in_guard_pool() ? slab.track(0).requested : slab.cache->object_bytes()};
}

Result<std::size_t> Kmalloc::usable_bytes(const void* object) const {
  const std::size_t room = TRY(room_bytes(object));
  if constexpr (config::debug_slab) {
    if (const FrameNumber frame = large_frame(object); frame != kNoFrame) {
      const auto* const trail = guarded_block(object, heap_.physical().frames()[frame]).whole_trail();
      return trail != nullptr ? trail->track.requested : room;
    }
    return std::size_t{
        KmemCache::track_of(*caches_[0].slab_at(object), reinterpret_cast<std::uint64_t>(object))->requested};
  }
  return room;
}

// ---- release ----------------------------------------------------------------------------------------------------

Result<void> Kmalloc::release_large(FrameNumber number) {
  Frame& frame = heap_.physical().frames()[number];
  frame.tag.store(0, std::memory_order_relaxed);
  frame.uses.store(Frame::kReference, std::memory_order_relaxed);
  return heap_.physical().release(number, frame.order());
}

// Whether a request for `bytes` gets just such memory as this. Precondition: misuse_of(object) == ok.
bool Kmalloc::suits(const void* object, std::size_t bytes) const {
  if (const FrameNumber frame = large_frame(object); frame != kNoFrame)
    return bytes > kMaxServed && bytes <= kMaxBytes &&
           order_for(bytes) == heap_.physical().frames()[frame].order();
  if (bytes > kMaxServed) return false;
  const unsigned which = caches_[0].slab_at(object)->number - first_number_;
  return which == (which < kClasses ? size_class(bytes) : dma_class(bytes));
}

// Whether the object ends with the bytes that were asked for, however large its class is.
bool Kmalloc::in_guard_pool(const void* object) const {
  const Slab* const slab = caches_[0].slab_at(object);
  return slab != nullptr && slab->in_guard_pool();
}

// Large objects, those outside the window, those of the guard pool, and what is wrong.
[[gnu::noinline]] Result<void> Kmalloc::release_slowly(void* object, std::uint64_t site) {
  if (site == 0) site = reinterpret_cast<std::uint64_t>(__builtin_return_address(0));
  if (const FrameNumber number = large_frame(object); number != kNoFrame) return release_large(number);
  if (const Error error = misuse_of(object); error != Error::ok) return error;
  return caches_[0].slab_at(object)->cache->release_from(object, site);
}

[[gnu::noinline]] Result<void> Kmalloc::release_sized(void* object, std::size_t bytes) {
  if (const Error error = misuse_of(object); error != Error::ok) return error;
  if (!suits(object, bytes)) return Error::wrong_size;
  return release_for(object, reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
}

[[gnu::noinline]] Result<void*> Kmalloc::resize(void* object, std::size_t bytes, Gfp flags) {
  const auto site = reinterpret_cast<std::uint64_t>(__builtin_return_address(0));
  if (object == nullptr) return allocate_for(bytes, flags, site);
  const std::size_t room = TRY(usable_bytes(object));
  if (bytes <= room && suits(object, bytes) && !in_guard_pool(object)) {
    if constexpr (config::debug_slab) settle(object, bytes);
    return object;
  }
  void* const moved = TRY(allocate_for(bytes, flags, site));
  std::memcpy(moved, object, std::min(bytes, room));
  const Result<void> released = release_for(object, site);
  if (!released.ok()) {  // somebody wrote around it: it stays what it was
    CHECK(release(moved).ok());
    return released.error();
  }
  return moved;
}

// ---- with guards ------------------------------------------------------------------------------------------------

[[gnu::noinline]] Result<void*> Kmalloc::allocate_guarded(std::size_t bytes, Gfp flags) {
  return allocate_from(bytes, flags, reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
}

[[gnu::noinline]] Result<void> Kmalloc::release_guarded(void* object) {
  return release_from(object, reinterpret_cast<std::uint64_t>(__builtin_return_address(0)));
}

Result<void*> Kmalloc::allocate_from(std::size_t bytes, Gfp flags, std::uint64_t site) {
  if (!memory::valid(flags) || has(flags, Gfp::highmem)) return Error::invalid;
  if (bytes > kMaxServed) return allocate_large(bytes, flags, site);
  KmemCache& cache = caches_[has(flags, Gfp::dma) ? dma_class(bytes) : size_class(bytes)];
  return cache.allocate_watched(flags, std::max<std::size_t>(bytes, 1), site);
}

Result<void> Kmalloc::release_from(void* object, std::uint64_t site) {
  if (const FrameNumber number = large_frame(object); number != kNoFrame) {
    if (config::debug_slab && is_damaged(guarded_block(object, heap_.physical().frames()[number])))
      return Error::overflow;
    return release_large(number);
  }
  if (const Error error = misuse_of(object); error != Error::ok) return error;
  return caches_[0].slab_at(object)->cache->release_watched(object, site);
}

// An object that stays has `bytes` from now on, no more than before.
void Kmalloc::settle(void* object, std::size_t bytes) {
  if (const FrameNumber number = large_frame(object); number != kNoFrame) {
    const large_guard::Block block = guarded_block(object, heap_.physical().frames()[number]);
    if (block.whole_trail() != nullptr) block.resize(bytes);
    return;
  }
  caches_[0].slab_at(object)->cache->resize_watched(object, std::max<std::size_t>(bytes, 1));
}

// ---- for people -------------------------------------------------------------------------------------------------

void Kmalloc::describe(Inspector& to) const {
  to.begin_array("", Layout::table);
  for (unsigned n = 0; n < kCaches; ++n) {
    const KmemCache& cache = caches_[n];
    const CacheLevels now = cache.levels();
    const std::uint32_t before = n == 0 || n == kClasses ? 0 : caches_[n - 1].object_bytes();
    const auto slab_bytes = static_cast<std::uint32_t>(bytes_in(Order{cache.cut().order}));
    to.begin_object("", Layout::row);
    to.text("name", cache.name());
    to.number("bytes", cache.object_bytes(), Unit::none);
    to.number("worst_waste_%", (cache.object_bytes() - before - 1) * 100 / cache.object_bytes(), Unit::none);
    to.number("slab_waste_%", (slab_bytes - cache.cut().objects * cache.cut().stride) * 100 / slab_bytes,
              Unit::none);
    to.number("objperslab", cache.cut().objects, Unit::none);
    to.number("active", static_cast<std::int64_t>(now.active()), Unit::none);
    to.number("cached", static_cast<std::int64_t>(now.cached), Unit::none);
    to.number("held_free", static_cast<std::int64_t>(now.held_free_bytes(cache.cut()) / 1024), Unit::kib);
    to.end_object();
  }
  to.end_array();
}

}  // namespace memory
