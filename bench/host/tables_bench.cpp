// The host library's page tables from a loop in C, as harness.hpp says; malloc has nothing like them. `make bench` runs it.
// SPDX-License-Identifier: MIT
#include "bench/host/harness.hpp"
#include "bench/host/table_loops.h"
#include "mm/mm.h"

namespace {

using bench::counting;
using bench::fail;
using bench::measure;

constexpr std::uint64_t kPlace = 0x5000'4000'0000;  // of whole tables on every level but the highest two
constexpr std::uint64_t kTarget = 0x20'0000;
constexpr std::uint64_t kData = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_NX;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLargePage = 512 * kPage;

void succeed(int status) {
  if (status != 0) fail("a page was not mapped or not unmapped");
}

void pairs(const char* name, std::uint64_t pgd, std::uint64_t flags) {
  const unsigned times = counting ? 5'000 : 1'000'000;
  measure(name, times, [=] { succeed(map_and_unmap(pgd, kPlace, kTarget, flags, times)); });
}

void batches(std::uint64_t pgd) {
  constexpr unsigned kPages = 512;
  const unsigned times = counting ? 20 : 2'000;
  measure("batch-map-4k", std::uint64_t{times} * kPages,
          [=] { succeed(map_all_and_unmap_all(pgd, kPlace, kTarget, kData, kPages, times)); });
}

void run() {
  const std::uint64_t pgd = pgd_alloc();
  if (pgd == 0) fail("no tree");
  succeed(map_page(pgd, kPlace + kPage, kTarget, kData));  // keeps the tables
  pairs("map-4k", pgd, kData);
  succeed(unmap_page(pgd, kPlace + kPage));
  succeed(map_page(pgd, kPlace + kLargePage, kTarget, kData));
  pairs("map-2m", pgd, kData | PTE_HUGE);
  batches(pgd);
  succeed(pgd_free(pgd));
}

}  // namespace

int main(int count, char** words) {
  return bench::run_for(count, words, run, [] {});
}
