// Stress on every CPU at once: frames, translations that change under those who use them, ranges, objects and threads that
// one CPU makes and another gives back.
// SPDX-License-Identifier: MIT
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mm/base/result.hpp"

namespace kernel::shell {

// What is done, and how often it was. PATH(name, what one is)
#define STRESS_PATHS(PATH)                                                          \
  PATH(allocations, "blocks of frames allocated")                                   \
  PATH(releases, "blocks released, their stamps whole")                             \
  PATH(maps, "a page appears")                                                      \
  PATH(remaps, "a page shows another frame, with a shootdown")                      \
  PATH(protects, "a page becomes read-only, with a shootdown")                      \
  PATH(unmaps, "a page goes, with a shootdown")                                     \
  PATH(reads, "reads of a page that found the frame it had")                        \
  PATH(read_faults, "reads of a page that had gone")                                \
  PATH(writes, "writes to a page that could be written to")                         \
  PATH(write_faults, "writes to a page that had gone, or could be read only")       \
  PATH(crossings, "reads and writes that met a change under way")                   \
  PATH(ranges, "vmalloc ranges made")                                               \
  PATH(ranges_freed_here, "ranges freed by the CPU that made them")                 \
  PATH(ranges_freed_elsewhere, "ranges freed by another CPU")                       \
  PATH(range_looks, "looks at a range that was freed: a fault, or somebody else's") \
  PATH(objects, "objects made")                                                     \
  PATH(objects_freed_here, "objects freed by the CPU that made them")               \
  PATH(objects_freed_elsewhere, "objects freed by another CPU")                     \
  PATH(threads, "threads made, run and joined")

enum class StressPath : std::uint8_t {
#define PATH(name, what) name,
  STRESS_PATHS(PATH)
#undef PATH
      count_
};
inline constexpr std::size_t kStressPaths = static_cast<std::size_t>(StressPath::count_);
std::string_view name_of(StressPath path);
std::string_view text_of(StressPath path);

struct CpuStressReport {
  std::uint64_t operations = 0;  // blocks allocated, released or refused
  std::uint64_t refused = 0;     // requests of any kind for which there was no memory
  std::uint64_t shootdowns = 0;  // as the counter has it
  std::array<std::uint64_t, kStressPaths> paths{};

  std::uint64_t& operator[](StressPath path) { return paths[static_cast<std::size_t>(path)]; }
};

// Runs `operations` in all, shared out to one thread on each CPU, or fewer when keep_going() says no; asks it now and
// then. Panics when two own one frame, range or object, or a CPU uses a translation that was flushed. Everything is given
// back but page tables and what is kept for the next. Fails with no_memory.
memory::Result<CpuStressReport> stress_cpus(std::uint64_t operations, std::uint64_t seed,
                                            bool (*keep_going)());

}  // namespace kernel::shell
