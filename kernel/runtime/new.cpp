// operator new and delete: the kernel's, by the one door.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <new>

#include "kernel/panic.hpp"
#include "mm/base/format.hpp"
#include "mm/kalloc.hpp"

namespace {

// A power of two of bytes is aligned to itself; others to 16.
void* allocate(std::size_t bytes, std::size_t align, const void* caller) {
  const std::size_t wanted =
      align <= __STDCPP_DEFAULT_NEW_ALIGNMENT__ ? bytes : std::bit_ceil(std::max(bytes, align));
  const auto made = memory::door().allocate(wanted, reinterpret_cast<std::uint64_t>(caller));
  return made.ok() ? made.take() : nullptr;
}

// There are no exceptions here: who can go on without asks by std::nothrow.
void* or_panic(void* made, std::size_t bytes) {
  if (made != nullptr) return made;
  memory::TextBuffer<80> why;
  why.text("operator new: no memory for ").number(bytes).text(" bytes");
  kernel::panic(why.view());
}

void release(void* object, const void* caller) {
  (void)memory::door().release(object, reinterpret_cast<std::uint64_t>(caller));
}

constexpr std::size_t kNatural = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}  // namespace

// A freestanding program has no libstdc++ to define it.
const std::nothrow_t std::nothrow{};

#define CALLER __builtin_return_address(0)

void* operator new(std::size_t bytes) { return or_panic(allocate(bytes, kNatural, CALLER), bytes); }
void* operator new[](std::size_t bytes) { return or_panic(allocate(bytes, kNatural, CALLER), bytes); }
void* operator new(std::size_t bytes, std::align_val_t align) {
  return or_panic(allocate(bytes, static_cast<std::size_t>(align), CALLER), bytes);
}
void* operator new[](std::size_t bytes, std::align_val_t align) {
  return or_panic(allocate(bytes, static_cast<std::size_t>(align), CALLER), bytes);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, kNatural, CALLER);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, kNatural, CALLER);
}
void* operator new(std::size_t bytes, std::align_val_t align, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<std::size_t>(align), CALLER);
}
void* operator new[](std::size_t bytes, std::align_val_t align, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<std::size_t>(align), CALLER);
}

void operator delete(void* object) noexcept { release(object, CALLER); }
void operator delete[](void* object) noexcept { release(object, CALLER); }
void operator delete(void* object, std::size_t) noexcept { release(object, CALLER); }
void operator delete[](void* object, std::size_t) noexcept { release(object, CALLER); }
void operator delete(void* object, std::align_val_t) noexcept { release(object, CALLER); }
void operator delete[](void* object, std::align_val_t) noexcept { release(object, CALLER); }
void operator delete(void* object, std::size_t, std::align_val_t) noexcept { release(object, CALLER); }
void operator delete[](void* object, std::size_t, std::align_val_t) noexcept { release(object, CALLER); }
void operator delete(void* object, const std::nothrow_t&) noexcept { release(object, CALLER); }
void operator delete[](void* object, const std::nothrow_t&) noexcept { release(object, CALLER); }
