// SPDX-License-Identifier: MIT
#include "kernel/shell/bench_threads.hpp"

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/task/thread.hpp"

namespace kernel::shell {

memory::Result<memory::Measurement> bench_threads(std::uint64_t threads, std::uint64_t (*ticks)()) {
  const unsigned here = this_cpu().number;
  const auto body = [](void*) {};
  TRY(run_on(here, body, nullptr));  // what the first one alone makes is not counted
  memory::Measurement spent{};
  for (std::uint64_t n = 0; n < threads; ++n) {
    const std::uint64_t start = ticks();
    TRY(run_on(here, body, nullptr));
    spent.ticks += ticks() - start;
    ++spent.operations;
  }
  return spent;
}

}  // namespace kernel::shell
