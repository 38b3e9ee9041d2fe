// What every call of the C face asks first: whether the calling thread has entered a machine, and whether that is alive.
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <memory>
#include <string_view>
#include <thread>

#include "mm/host/mm_host.h"
#include "mm/mm.h"
#include "tests/unit/world.hpp"

namespace {

constexpr mm_range kMemory{0, 4 << 20};

struct Destroy {
  void operator()(mm_machine* machine) const { mm_machine_destroy(machine); }
};
using Owner = std::unique_ptr<mm_machine, Destroy>;

Owner machine_with(mm_misuse_policy policy) {
  mm_shape shape{};
  shape.memory = &kMemory;
  shape.memory_ranges = 1;
  shape.cpus = 2;
  shape.misuse_policy = policy;
  mm_machine* machine = nullptr;
  return Owner(mm_machine_create(&shape, &machine) == 0 ? machine : nullptr);
}

// What every kind of call answers where there is no machine to work on.
void expect_no_machine(int status) {
  int object = 0;
  EXPECT_EQ(alloc_pages(0, GFP_KERNEL), status);
  EXPECT_EQ(free_pages(0, 0), status);
  EXPECT(kmalloc(64, GFP_KERNEL) == nullptr);
  EXPECT_EQ(kfree(&object), status);
  EXPECT_EQ(mm_quiesce(), status);
}

}  // namespace

TEST(capi, a_thread_that_has_entered_no_machine_is_told_so) {
  expect_no_machine(-EINVAL);
  EXPECT(mm_last_panic() == nullptr);
  EXPECT(mm_frame_bytes(0) == nullptr);

  const Owner machine = machine_with(MM_MISUSE_REFUSE);
  ASSERT(machine != nullptr);
  EXPECT_EQ(mm_enter(machine.get(), 2), -EINVAL);
  expect_no_machine(-EINVAL);
  EXPECT_EQ(mm_enter(machine.get(), 1), 0);
  void* const object = kmalloc(64, GFP_KERNEL);
  EXPECT(object != nullptr);
  EXPECT_EQ(kfree(object), 0);
  EXPECT_EQ(mm_enter(nullptr, 0), 0);
  expect_no_machine(-EINVAL);
}

TEST(capi, a_machine_is_dead_on_all_its_cpus) {
  const Owner machine = machine_with(MM_MISUSE_PANIC);
  ASSERT(machine != nullptr);
  EXPECT_EQ(mm_enter(machine.get(), 0), 0);
  std::thread([&machine] {
    EXPECT_EQ(mm_enter(machine.get(), 1), 0);
    int object = 0;
    EXPECT_EQ(kfree(&object), -ENOTRECOVERABLE);
    mm_enter(nullptr, 0);
    expect_no_machine(-EINVAL);
  }).join();
  expect_no_machine(-ENOTRECOVERABLE);
  ASSERT(mm_last_panic() != nullptr);
  EXPECT(std::string_view(mm_last_panic()).starts_with("free of an address that is no object"));
  mm_enter(nullptr, 0);
  EXPECT(mm_last_panic() == nullptr);
}

TEST(capi, the_last_error_is_that_of_the_last_release) {
  const Owner machine = machine_with(MM_MISUSE_REFUSE);
  ASSERT(machine != nullptr);
  EXPECT_EQ(mm_enter(machine.get(), 0), 0);
  void* const object = kmalloc(64, GFP_KERNEL);
  EXPECT_EQ(kfree(object), 0);
  EXPECT_EQ(std::string_view(mm_last_error()), "success");
  EXPECT_EQ(kfree(object), -EINVAL);
  EXPECT_EQ(std::string_view(mm_last_error()), "double free");
  EXPECT_EQ(kfree(nullptr), 0);
  EXPECT_EQ(std::string_view(mm_last_error()), "success");
  EXPECT_EQ(free_pages(kMemory.end / 4096, 0), -EINVAL);
  EXPECT_EQ(std::string_view(mm_last_error()), "free of a frame that does not exist");
  const int64_t page = alloc_pages(0, GFP_KERNEL);
  EXPECT_EQ(free_pages(static_cast<uint64_t>(page), 0), 0);
  EXPECT_EQ(std::string_view(mm_last_error()), "success");
  mm_enter(nullptr, 0);
}

// A bit of the flags is for each zone and each way to wait: what no request may carry is refused whatever it goes with.
TEST(capi, objects_are_had_with_flags_that_make_sense_only) {
  const Owner machine = machine_with(MM_MISUSE_REFUSE);
  ASSERT(machine != nullptr);
  EXPECT_EQ(mm_enter(machine.get(), 0), 0);
  for (unsigned flags = 0; flags < 600; ++flags) {
    const bool two_zones = (flags & GFP_DMA) != 0 && (flags & GFP_HIGHMEM) != 0;
    const bool sensible = flags != 0 && flags < 32 && !two_zones && (flags & GFP_HIGHMEM) == 0;
    void* const object = kmalloc(64, flags);
    EXPECT_EQ(object != nullptr, sensible);
    EXPECT_EQ(kfree(object), 0);
  }
  mm_enter(nullptr, 0);
}
