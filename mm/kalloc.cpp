// Kalloc: who serves a request, and whose an address is.
// SPDX-License-Identifier: MIT
#include "mm/kalloc.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace memory {

namespace {

// Whether the kernel heap serves that many bytes better than whole frames, of which more than an eighth would lie idle.
constexpr bool suits_heap(std::size_t bytes) {
  if (bytes <= kMaxClassBytes || bytes > Kalloc::kMaxBytes) return false;
  const std::size_t block = std::max(std::bit_ceil(bytes), std::size_t{kPageSize});
  return bytes < block / 8 * 7;
}
static_assert(suits_heap(kMaxClassBytes + 1) && !suits_heap(16_KiB) && !suits_heap(14_KiB));

std::uint64_t or_caller(std::uint64_t site, const void* caller) {
  return site == Kalloc::kCaller ? reinterpret_cast<std::uint64_t>(caller) : site;
}

}  // namespace

void Kalloc::begin(EarlyAllocator& early, std::byte* direct_map) {
  CHECK(early_ == nullptr && manager_ == nullptr);
  early_ = &early;
  direct_map_ = direct_map;
}

void Kalloc::open(MemoryManager& manager) {
  CHECK(manager_ == nullptr);
  manager_ = &manager;
  direct_map_ = manager.physical().frames().map().direct_map;
}

// What does not fit into the rest of the last frame begins a new one; what fits none has frames of its own.
Result<void*> Kalloc::allocate_early(std::size_t bytes, std::size_t align) {
  if (early_ == nullptr) return Error::no_memory;
  if (bytes > kMaxBytes) return Error::too_big;
  const std::size_t wanted = (std::max(bytes, std::size_t{1}) + kEarlyAlign - 1) / kEarlyAlign * kEarlyAlign;
  if (wanted > left_ || align > kEarlyAlign) {
    const std::size_t frames = (wanted + kPageSize - 1) / kPageSize;
    std::byte* const first = direct_map_ + TRY(early_->allocate(frames)).value;
    if (frames * kPageSize - wanted > left_) {
      next_ = first + wanted;
      left_ = frames * kPageSize - wanted;
    }
    return static_cast<void*>(first);
  }
  left_ -= wanted;
  return static_cast<void*>(std::exchange(next_, next_ + wanted));
}

// A page-aligned request has whole pages: an object of a page or two, powers of two, is aligned to its size.
Result<void*> Kalloc::allocate_late(std::size_t bytes, Alignment alignment, std::uint64_t site) {
  const bool by_page = alignment == Alignment::page;
  if (suits_heap(bytes))
    return by_page ? manager_->heap_memalign(kPageSize, bytes) : manager_->heap_malloc(bytes);
  if (by_page && bytes <= kMaxClassBytes) bytes = std::max(std::bit_ceil(bytes), std::size_t{kPageSize});
  return manager_->kmalloc().allocate_for(bytes, Gfp::kernel, site);
}

[[gnu::noinline]] Result<void*> Kalloc::allocate(std::size_t bytes, std::uint64_t site) {
  if (manager_ == nullptr) return allocate_early(bytes, kEarlyAlign);
  return allocate_late(bytes, Alignment::natural, or_caller(site, __builtin_return_address(0)));
}

[[gnu::noinline]] Result<void*> Kalloc::place(std::size_t bytes, PhysAddr& at, Alignment alignment,
                                              std::uint64_t site) {
  site = or_caller(site, __builtin_return_address(0));
  void* const object = TRY(
      manager_ != nullptr ? allocate_late(bytes, alignment, site)
                          : allocate_early(bytes, alignment == Alignment::page ? kPageSize : kEarlyAlign));
  at = PhysAddr{static_cast<std::uint64_t>(static_cast<std::byte*>(object) - direct_map_)};
  return object;
}

[[gnu::noinline]] Result<void> Kalloc::release(void* object, std::uint64_t site) {
  if (object == nullptr) return {};
  if (manager_ == nullptr) return Error::wild_object;
  site = or_caller(site, __builtin_return_address(0));
  return manager_->in_kernel_heap(object) ? manager_->heap_free_for(object, site)
                                          : manager_->kfree_for(object, site);
}

}  // namespace memory
