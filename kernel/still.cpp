// SPDX-License-Identifier: MIT
//
// Every other CPU is called (ipi.hpp), says where it stands, and waits in its handler until it may go. Each of them answers
// flushes meanwhile, so whoever waited for one of these before it stood is not held up by another that stands.
#include "kernel/still.hpp"

#include "kernel/arch/x86_64/cpus.hpp"
#include "kernel/arch/x86_64/ipi.hpp"
#include "mm/base/bits.hpp"
#include "mm/base/sync.hpp"

namespace kernel {

namespace {

struct Stand {
  StandingStacks stacks{};
  std::atomic<unsigned> standing{0};
  std::atomic<bool> go{false};
};

void stand(void* context) {
  auto& all = *static_cast<Stand*>(context);
  all.stacks[this_cpu().number] = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  all.standing.fetch_add(1, std::memory_order_release);
  while (!all.go.load(std::memory_order_acquire)) memory::platform::relax();
}

struct Errand {
  void (*body)(void*, const StandingStacks&);
  void* context;
};

// Its frame is what the registers that a function must keep are saved above.
[[gnu::noinline]] void run(const Errand& errand, Stand& all) {
  all.stacks[this_cpu().number] = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  errand.body(errand.context, all.stacks);
}

// Whatever the callers keep in registers lies in this frame while `run` runs.
[[gnu::noinline]] void save_registers_and_run(const Errand& errand, Stand& all) {
  run(errand, all);
  asm volatile("" : : : "rbx", "r12", "r13", "r14", "r15", "memory");
}

}  // namespace

void while_still(void (*body)(void*, const StandingStacks&), void* context) {
  const memory::PreemptionOff stay;
  Stand all;
  const unsigned others = memory::popcount(ipi::begin(~std::uint64_t{0}, stand, &all));
  while (all.standing.load(std::memory_order_acquire) != others) memory::platform::relax();
  {
    const memory::InterruptsOff off;
    save_registers_and_run({body, context}, all);
  }
  all.go.store(true, std::memory_order_release);
  ipi::end();
}

}  // namespace kernel
