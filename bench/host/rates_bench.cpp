// KOS's pairs from loops in C on the host library, as harness.hpp says; nothing of it is malloc's. `make bench` runs it.
// SPDX-License-Identifier: MIT
#include "bench/host/harness.hpp"
#include "bench/host/object_loops.h"
#include "mm/mm.h"

namespace {

using bench::fail;
using bench::measure;

constexpr std::size_t kObject = 64;

void succeed(int status) {
  if (status != 0) fail("a pair failed");
}

void run() {
  const unsigned times = bench::counting ? 5'000 : 1'000'000;
  measure("page-pair", times, [=] { succeed(page_pairs(0, GFP_KERNEL, times)); });
  kmem_cache* const cache = kmem_cache_create("bench-64", kObject, 0, 0, nullptr);
  if (cache == nullptr) fail("no cache");
  measure("cache-pair", times, [=] { succeed(cache_pairs(cache, GFP_KERNEL, times)); });
  succeed(kmem_cache_destroy(cache));
  measure("kmalloc-pair", times, [=] { succeed(kmalloc_pairs(kObject, GFP_KERNEL, times)); });
}

}  // namespace

int main(int count, char** words) {
  return bench::run_for(count, words, run, [] {});
}
