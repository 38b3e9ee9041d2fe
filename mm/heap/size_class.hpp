// The sizes that kmalloc has caches for, and which one serves a request.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace memory {

// Four sizes to each doubling, so that at most a fifth of an object is wasted from 64 bytes on; from 2 KiB on those of
// which whole objects fill whole frames. Powers of two are aligned to themselves, the others to 16 bytes, 8 to 8.
inline constexpr std::array<std::uint32_t, 28> kSizeClasses{
    8,   16,  32,  48,  64,  80,  96,   112,  128,  160,  192,  224,  256,  320,
    384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2688, 4096, 8192};
inline constexpr std::uint32_t kMaxClassBytes = kSizeClasses.back();

namespace size_class_detail {

inline constexpr std::uint32_t kFineStep = 8;
inline constexpr std::uint32_t kFineEnd = 1024;
inline constexpr std::uint32_t kCoarseStep = 128;

// The class of each multiple of `step` up to `end`.
template <std::uint32_t step, std::uint32_t end>
consteval std::array<std::uint8_t, end / step + 1> table() {
  std::array<std::uint8_t, end / step + 1> classes{};
  for (std::uint32_t n = 0, at = 0; n < classes.size(); ++n) {
    while (kSizeClasses[at] < n * step) ++at;
    classes[n] = static_cast<std::uint8_t>(at);
  }
  return classes;
}
inline constexpr auto kFine = table<kFineStep, kFineEnd>();
inline constexpr auto kCoarse = table<kCoarseStep, kMaxClassBytes>();

// "kmalloc-64", as Linux calls them; "dma-kmalloc-64".
struct Name {
  char text[24] = {};
  std::size_t length = 0;
  constexpr std::string_view view() const { return {text, length}; }
};
consteval Name name_of(std::string_view prefix, std::uint32_t bytes) {
  Name name;
  for (const char c : prefix) name.text[name.length++] = c;
  std::uint32_t power = 1;
  while (bytes / power >= 10) power *= 10;
  for (; power > 0; power /= 10) name.text[name.length++] = static_cast<char>('0' + bytes / power % 10);
  return name;
}

}  // namespace size_class_detail

// The index of the smallest class that holds `bytes`. Precondition: bytes <= kMaxClassBytes. 0 bytes are served as one.
constexpr unsigned size_class(std::size_t bytes) {
  using namespace size_class_detail;
  if (bytes <= kFineEnd) [[likely]]
    return kFine[(bytes + kFineStep - 1) / kFineStep];
  return kCoarse[(bytes + kCoarseStep - 1) / kCoarseStep];
}
static_assert(size_class(0) == 0 && size_class(8) == 0 && size_class(9) == 1 && size_class(1025) == 21);
static_assert(kSizeClasses[size_class(2689)] == 4096 && kSizeClasses[size_class(8192)] == 8192);

constexpr std::uint32_t align_of_class(unsigned index) {
  const std::uint32_t bytes = kSizeClasses[index];
  if ((bytes & (bytes - 1)) == 0) return bytes < 4096 ? bytes : 4096;
  return 16;
}

}  // namespace memory
