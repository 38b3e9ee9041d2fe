// What the programs that compare the host library with malloc share: how a case is measured, and who does the work.
// SPDX-License-Identifier: MIT
//
// NAME coronel|malloc [--count]: with `malloc` the allocator is the C library's, or who stands before it by LD_PRELOAD.
// Prints one line for each case, tab-separated: case, operations, nanoseconds; or what tell() is told. Under callgrind
// each counted part ends in a dump named "case<TAB>operations".
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <valgrind/callgrind.h>

#include "mm/host/mm_host.h"

namespace bench {

inline bool counting = false;
inline constexpr std::uint64_t kMachineBytes = std::uint64_t{512} << 20;

[[noreturn]] inline void fail(const char* why) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, why);
  std::exit(1);
}

// Runs `body`, which does `operations` of what the case is about, once to warm up, then measured.
template <typename Body>
void measure(const char* name, std::uint64_t operations, Body&& body) {
  body();
  if (counting) {
    const std::string title = std::string(name) + "\t" + std::to_string(operations);
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
    body();
    CALLGRIND_DUMP_STATS_AT(title.c_str());
    CALLGRIND_STOP_INSTRUMENTATION;
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  body();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  std::printf("%s\t%llu\t%.0f\n", name, static_cast<unsigned long long>(operations), took.count());
}

// A figure that is no time: `amount` for `of` of something. Not said while instructions are counted.
inline void tell(const char* name, std::uint64_t of, std::uint64_t amount) {
  if (counting) return;
  std::printf("%s\t%llu\t%llu\n", name, static_cast<unsigned long long>(of),
              static_cast<unsigned long long>(amount));
}

// Ours, while it is measured.
inline mm_machine* machine = nullptr;

// `ours` runs on a machine of kMachineBytes whose first CPU this thread has entered; `theirs` needs none.
template <typename Ours, typename Theirs>
int run_for(int count, char** words, Ours&& ours, Theirs&& theirs, unsigned cpus = 1) {
  counting = count > 2 && std::string_view(words[2]) == "--count";
  const std::string_view allocator = count > 1 ? words[1] : "";
  if (allocator == "malloc") {
    theirs();
    return 0;
  }
  if (allocator != "coronel") fail("usage: coronel|malloc [--count]");
  const mm_range all{0, kMachineBytes};
  mm_shape shape{};
  shape.memory = &all;
  shape.memory_ranges = 1;
  shape.cpus = cpus;
  shape.misuse_policy = MM_MISUSE_PANIC;
  shape.levels = 4;
  if (mm_machine_create(&shape, &machine) != 0 || mm_enter(machine, 0) != 0) fail("no machine");
  ours();
  mm_machine_destroy(machine);
  return 0;
}

}  // namespace bench
