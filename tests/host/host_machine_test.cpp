// host::Machine: what its storage promises beyond memory::Machine.
// SPDX-License-Identifier: MIT
#include "mm/host/machine.hpp"

#include <memory>
#include <vector>

#include "tests/unit/unit.hpp"

using namespace memory;

// As the kernel's direct map: what is aligned physically is so where it is seen. Where a mapping comes to lie is chance, so
// there are several.
TEST(host_machine, memory_is_aligned_where_it_is_seen) {
  std::vector<std::unique_ptr<host::Machine>> machines;
  for (const std::uint64_t bytes : {16_MiB, 8_MiB, 24_MiB, 5_MiB, 40_MiB}) {
    const PhysRange memory[] = {{PhysAddr{0}, PhysAddr{bytes}}};
    machines.emplace_back(host::Machine::create({.memory = memory}).take());
    const auto ram = reinterpret_cast<std::uint64_t>((*machines.back())->frames().map().direct_map);
    EXPECT_EQ(ram % bytes_in(kMaxOrder), 0u);
  }
}
