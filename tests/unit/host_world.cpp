// The host's answers to the hooks of world.hpp: an arena of the process, sparse until touched.
// SPDX-License-Identifier: MIT
#include "tests/unit/host_world.hpp"

#include <sys/mman.h>

#include "mm/host/cpu.hpp"
#include "tests/unit/world.hpp"

namespace {

std::byte* arena = nullptr;
std::size_t used = 0;

}  // namespace

std::span<std::byte> unit::storage(std::size_t bytes) {
  if (arena == nullptr) {
    void* made = mmap(nullptr, kStorageBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) return {};
    arena = static_cast<std::byte*>(made);
  }
  const std::size_t rounded = (bytes + memory::kPageSize - 1) / memory::kPageSize * memory::kPageSize;
  if (rounded > kStorageBytes - used) return {};
  const std::span<std::byte> piece{arena + used, bytes};
  used += rounded;
  return piece;
}

memory::PerCpu* unit::stand_on(memory::PerCpu* cpu) {
  memory::PerCpu* const former = memory::host::current_cpu;
  memory::host::current_cpu = cpu;
  return former;
}

// Pages go back to the system, so the next test finds zeros where it did not write: garbage is tested on purpose only.
void unit::end_world() {
  memory::host::current_cpu = &memory::host::nowhere;
  if (used == 0) return;
  memory::host::unpoison_all(arena, used);
  madvise(arena, used, MADV_DONTNEED);
  used = 0;
}
