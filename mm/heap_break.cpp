// HeapBreak: the sites, and what is done at them.
// SPDX-License-Identifier: MIT
#include "mm/heap_break.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace memory {

namespace {

// A call of the face.
struct SiteCall {
  enum class Verb : std::uint8_t {
    cache_alloc,
    cache_free,
    kmalloc,
    kfree,
    kfree_sized,
    heap_malloc,
    heap_free
  };
  Verb verb;
  KmemCache* cache = nullptr;
  void* object = nullptr;
  std::size_t bytes = 0;
};

Result<std::uint64_t> address_of(Result<void*> made) {
  if (!made.ok()) return made.error();
  return reinterpret_cast<std::uint64_t>(made.take());
}
Result<std::uint64_t> zero_if(Result<void> released) {
  if (!released.ok()) return released.error();
  return std::uint64_t{0};
}

// One of the places that reports name: everything it calls inlines or returns here. The number is part of its code, or
// the compiler would fold all of them into one.
template <unsigned number>
[[gnu::noinline]] Result<std::uint64_t> heap_site(MemoryManager& manager, const SiteCall& call) {
  asm volatile("" : : "i"(number));
  switch (call.verb) {
    case SiteCall::Verb::cache_alloc: return address_of(call.cache->allocate());
    case SiteCall::Verb::cache_free: return zero_if(manager.cache_free(*call.cache, call.object));
    case SiteCall::Verb::kmalloc: return address_of(manager.kmalloc().allocate(call.bytes));
    case SiteCall::Verb::kfree: return zero_if(manager.kfree(call.object));
    case SiteCall::Verb::kfree_sized: return zero_if(manager.kfree_sized(call.object, call.bytes));
    case SiteCall::Verb::heap_malloc: return address_of(manager.heap_malloc(call.bytes));
    case SiteCall::Verb::heap_free: return zero_if(manager.heap_free(call.object));
  }
  return Error::invalid;
}

using Site = Result<std::uint64_t> (*)(MemoryManager&, const SiteCall&);
template <unsigned... number>
constexpr std::array<Site, sizeof...(number)> sites(std::integer_sequence<unsigned, number...>) {
  return {&heap_site<number>...};
}
constexpr auto kSites = sites(std::make_integer_sequence<unsigned, HeapBreak::kSites>());

// Holds the frame behind an object as long as it lives. In a profile that hides free frames (CONFIG_DEBUG_PAGEALLOC) a
// write into one faults at once, which is another report than the heap's.
class FrameBehind {
 public:
  // Takes frames until the one that shows `address` is somebody's, or there are no more.
  FrameBehind(MemoryManager& manager, std::uint64_t address) : manager_(manager) {
    const FrameTable& frames = manager.physical().frames();
    const FrameNumber wanted = frames.frame_behind(address);
    while (wanted != kNoFrame && frames.is_free(wanted)) {
      const auto taken = manager.alloc_pages(Order{0});
      if (!taken.ok()) break;
      link(taken.take()) = last_;
      last_ = taken.take();
    }
  }
  FrameBehind(const FrameBehind&) = delete;
  FrameBehind& operator=(const FrameBehind&) = delete;
  ~FrameBehind() {
    while (last_ != kNoFrame) {
      const FrameNumber freed = std::exchange(last_, link(last_));
      CHECK(manager_.free_pages(freed, Order{0}).ok());
    }
  }

 private:
  // The frame that was taken before, in the first bytes of the one after it.
  FrameNumber& link(FrameNumber number) const {
    return *reinterpret_cast<FrameNumber*>(manager_.physical().frames().open(number).bytes());
  }

  MemoryManager& manager_;
  FrameNumber last_ = kNoFrame;
};

class Breaker {
 public:
  Breaker(MemoryManager& manager, const HeapBreak& wanted, KmemCache* cache, KmemCache& stranger)
      : manager_(manager), wanted_(wanted), cache_(cache), stranger_(stranger) {}
  Breaker(const Breaker&) = delete;
  Breaker& operator=(const Breaker&) = delete;

  Result<BrokenHeap> run();

 private:
  using Verb = SiteCall::Verb;
  static constexpr unsigned kExtra = 1;  // allocated behind the victim

  bool of_kmalloc() const { return wanted_.cache == HeapBreak::kKmalloc; }
  bool of_kernel_heap() const { return wanted_.cache == HeapBreak::kKernelHeap; }
  Result<std::uint64_t> at_site(unsigned which, const SiteCall& call) {
    return kSites[(wanted_.site + which) % HeapBreak::kSites](manager_, call);
  }
  Error allocate_all();
  // As its owner would; `which`: the site.
  Error free(void* address, unsigned which);

  void free_all();
  Error free_twice();
  Error free_to_other();
  Error free_wildly();
  Error write_and_free(std::int64_t from, std::size_t bytes);
  Error write_after_free();
  std::size_t to_next_page() const;
  Error misuse();

  MemoryManager& manager_;
  const HeapBreak& wanted_;
  KmemCache* const cache_;  // null: kmalloc or the kernel heap
  KmemCache& stranger_;
  std::array<void*, HeapBreak::kObjects + kExtra> objects_{};
  unsigned count_ = 0;
  void* address_ = nullptr;
};

Error Breaker::allocate_all() {
  const Verb verb = of_kmalloc() ? Verb::kmalloc : of_kernel_heap() ? Verb::heap_malloc : Verb::cache_alloc;
  for (; count_ < wanted_.object + 1 + kExtra; ++count_) {
    const auto made = at_site(0, {.verb = verb, .cache = cache_, .bytes = wanted_.bytes});
    if (!made.ok()) return made.error();
    objects_[count_] = reinterpret_cast<void*>(made.take());
  }
  return Error::ok;
}

Error Breaker::free(void* address, unsigned which) {
  const Verb verb = of_kmalloc() ? Verb::kfree : of_kernel_heap() ? Verb::heap_free : Verb::cache_free;
  return at_site(which, {.verb = verb, .cache = cache_, .object = address}).error();
}

void Breaker::free_all() {
  for (unsigned n = 0; n < count_; ++n)
    if (void* const object = std::exchange(objects_[n], nullptr); object != nullptr)
      CHECK(free(object, 1) == Error::ok);
}

Error Breaker::free_twice() {
  objects_[wanted_.object] = nullptr;
  CHECK(free(address_, 1) == Error::ok);
  if (wanted_.kind == HeapBreakKind::late_double_free) free_all();
  return free(address_, 2);
}

Error Breaker::free_to_other() {
  const bool odd = wanted_.offset % 2 != 0;
  if (!odd) return at_site(2, {.verb = Verb::cache_free, .cache = &stranger_, .object = address_}).error();
  return at_site(2, {.verb = of_kmalloc() ? Verb::heap_free : Verb::kfree, .object = address_}).error();
}

Error Breaker::free_wildly() {
  const auto frame = manager_.alloc_pages(Order{0});
  if (!frame.ok()) return frame.error();
  address_ = manager_.physical().frames().open(frame.take()).bytes() + wanted_.offset % kPageSize;
  const Error answer = free(address_, 2);
  CHECK(manager_.free_pages(frame.take(), Order{0}).ok());
  return answer;
}

// Bytes from the end of the victim to the next page, and 8 of that.
std::size_t Breaker::to_next_page() const {
  const std::uint64_t end = reinterpret_cast<std::uint64_t>(address_) + wanted_.bytes;
  return (end + kPageSize) / kPageSize * kPageSize - end + 8;
}

// Every byte of them becomes another. What is not the victim's own is mended at once: others may be there. The rest is
// mended when the heap has looked, which must refuse the release; where it does not, there is nothing to mend.
[[gnu::noinline]] Error Breaker::write_and_free(std::int64_t from, std::size_t bytes) {
  static constinit std::array<std::uint8_t, kPageSize + 16> kept{};
  constexpr std::size_t kOwn = 16;
  auto* const first = static_cast<std::uint8_t*>(address_) + from;
  void* const victim = std::exchange(address_, first);
  for (std::size_t n = 0; n < bytes; ++n) {
    kept[n] = first[n];
    first[n] = static_cast<std::uint8_t>(~first[n]);
  }
  const auto mend = [&](std::size_t start, std::size_t end) {
    for (std::size_t n = start; n < end; ++n) first[n] = kept[n];
  };
  const Slab* const slab = manager_.heap().slab_at(victim);
  const bool noticed_later = config::debug_slab || (slab != nullptr && slab->in_guard_pool());
  mend(noticed_later ? std::min(bytes, kOwn) : 0, bytes);
  const Error answer = free(victim, 2);
  if (answer == Error::ok) {
    objects_[wanted_.object] = nullptr;
  } else {
    mend(0, std::min(bytes, kOwn));
  }
  return answer;
}

// How many pairs bring every object that was released by, out of the quarantine and the magazines.
std::size_t pairs_until_seen(std::size_t bytes) {
  return std::size_t{config::quarantine_kib} * 1024 / bytes + std::size_t{2} * HeapBreak::kObjects;
}

// Allocates and frees until the victim comes by, or all others have.
[[gnu::noinline]] Error Breaker::write_after_free() {
  objects_[wanted_.object] = nullptr;
  CHECK(free(address_, 1) == Error::ok);
  auto* const byte = static_cast<std::uint8_t*>(address_) + wanted_.offset;
  *byte = static_cast<std::uint8_t>(~*byte);
  address_ = byte;
  const std::uint64_t before = manager_.last_misuse().number;
  std::array<void*, HeapBreak::kObjects / 2> taken{};
  const Verb verb = of_kmalloc() ? Verb::kmalloc : Verb::cache_alloc;
  for (std::size_t n = 0; n < pairs_until_seen(wanted_.bytes); ++n) {
    void*& oldest = taken[n % taken.size()];
    if (oldest != nullptr) CHECK(free(std::exchange(oldest, nullptr), 2) == Error::ok);
    const auto made = at_site(2, {.verb = verb, .cache = cache_, .bytes = wanted_.bytes});
    if (!made.ok()) break;
    oldest = reinterpret_cast<void*>(made.take());
    if (manager_.last_misuse().number != before) break;
  }
  const Error answer = manager_.last_misuse().number != before ? manager_.last_misuse().error : Error::ok;
  for (void* const object : taken)
    if (object != nullptr) CHECK(free(object, 1) == Error::ok);
  return answer;
}

Error Breaker::misuse() {
  switch (wanted_.kind) {
    case HeapBreakKind::double_free:
    case HeapBreakKind::late_double_free: return free_twice();
    case HeapBreakKind::interior_free:
      address_ = static_cast<std::byte*>(address_) + wanted_.offset;
      return free(address_, 2);
    case HeapBreakKind::wild_free: return free_wildly();
    case HeapBreakKind::foreign_free: return free_to_other();
    case HeapBreakKind::wrong_size_free:
      return at_site(2, {.verb = Verb::kfree_sized, .object = address_, .bytes = wanted_.offset}).error();
    case HeapBreakKind::overflow_by_1: return write_and_free(static_cast<std::int64_t>(wanted_.bytes), 1);
    case HeapBreakKind::overflow_by_8: return write_and_free(static_cast<std::int64_t>(wanted_.bytes), 8);
    case HeapBreakKind::overflow_into_next_page: {
      const FrameBehind held(manager_,
                             reinterpret_cast<std::uint64_t>(address_) + wanted_.bytes + to_next_page() - 1);
      return write_and_free(static_cast<std::int64_t>(wanted_.bytes), to_next_page());
    }
    case HeapBreakKind::underflow: {
      const std::uint64_t bytes = wanted_.offset % 8 + 1;
      return write_and_free(-static_cast<std::int64_t>(bytes), bytes);
    }
    case HeapBreakKind::write_after_free: return write_after_free();
  }
  return Error::invalid;
}

Result<BrokenHeap> Breaker::run() {
  if (const Error error = allocate_all(); error != Error::ok) {
    free_all();
    return error;
  }
  void* const victim = objects_[wanted_.object];
  address_ = victim;
  BrokenHeap broken{.object = reinterpret_cast<std::uint64_t>(victim)};
  broken.answer = misuse();
  broken.address = reinterpret_cast<std::uint64_t>(address_);
  free_all();
  return broken;
}

bool makes_sense(const HeapBreak& wanted) {
  if (wanted.object >= HeapBreak::kObjects || wanted.site >= HeapBreak::kSites) return false;
  // The kernel heap has headers, which tell on their own; writing over them is not to be tried where it lives.
  if (wanted.kind >= HeapBreakKind::overflow_by_1 && wanted.cache == HeapBreak::kKernelHeap) return false;
  if (wanted.kind == HeapBreakKind::write_after_free && wanted.offset >= wanted.bytes) return false;
  const bool sized = wanted.kind == HeapBreakKind::wrong_size_free;
  if (sized && wanted.cache != HeapBreak::kKmalloc) return false;
  return wanted.kind != HeapBreakKind::interior_free || (wanted.offset > 0 && wanted.offset < wanted.bytes);
}

}  // namespace

std::optional<HeapBreakKind> heap_break_kind(std::string_view name) {
  for (std::size_t n = 0; n < std::size(kHeapBreaks); ++n)
    if (kHeapBreaks[n].name == name) return static_cast<HeapBreakKind>(n);
  return std::nullopt;
}

[[gnu::noinline]] Result<BrokenHeap> break_heap(MemoryManager& manager, const HeapBreak& wanted) {
  KmemCache* cache = nullptr;
  HeapBreak made = wanted;
  if (wanted.cache != HeapBreak::kKmalloc && wanted.cache != HeapBreak::kKernelHeap) {
    cache = wanted.cache < kCacheSlots ? manager.heap().made(wanted.cache) : nullptr;
    if (cache == nullptr) return Error::not_found;
    made.bytes = cache->object_bytes();
  }
  if (!makes_sense(made)) return Error::invalid;
  KmemCache* const stranger = TRY(manager.heap().create({.name = "stranger", .object_bytes = 40}));
  const auto broken = Breaker(manager, made, cache, *stranger).run();
  CHECK(manager.heap().destroy(*stranger).ok());
  return broken;
}

}  // namespace memory
