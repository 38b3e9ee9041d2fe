// operator new and delete of the kernel.
// SPDX-License-Identifier: MIT
#include <cstdint>
#include <new>
#include <string_view>

#include "kernel/panic.hpp"
#include "mm/kalloc.hpp"
#include "tests/unit/unit.hpp"

namespace {

struct Point {
  std::uint64_t x = 3;
  std::uint64_t y = 4;
};
struct alignas(256) Line {
  std::uint64_t words[3] = {1, 2, 3};
};

template <typename T>
T* hidden(T* object) {  // or the compiler leaves out the pair
  asm volatile("" : "+r"(object));
  return object;
}

}  // namespace

TEST(operator_new, makes_objects_out_of_kmalloc_and_takes_them_back) {
  Point* const point = hidden(new Point);
  EXPECT(point->x == 3 && point->y == 4);
  EXPECT_EQ(memory::manager().kmalloc().misuse_of(point), memory::Error::ok);
  delete point;
  Point* const points = hidden(new Point[1000]);
  EXPECT_EQ(points[999].y, 4u);
  EXPECT_EQ(memory::manager().kmalloc().usable_bytes(points).ok(), !memory::manager().in_kernel_heap(points));
  delete[] points;
  delete hidden(static_cast<Point*>(nullptr));
}

TEST(operator_new, keeps_an_alignment) {
  Line* const line = hidden(new Line);
  EXPECT(reinterpret_cast<std::uintptr_t>(line) % alignof(Line) == 0 && line->words[2] == 3);
  delete line;
}

TEST(operator_new, says_no_or_stops_where_there_is_no_memory) {
  constexpr std::size_t kTooMuch = memory::Kalloc::kMaxBytes + 1;
  EXPECT(hidden(operator new(kTooMuch, std::nothrow)) == nullptr);
  const auto reason = kernel::catch_panic([](void*) { hidden(operator new(kTooMuch)); }, nullptr);
  EXPECT_EQ(reason, std::string_view("operator new: no memory for 8388609 bytes"));
}
