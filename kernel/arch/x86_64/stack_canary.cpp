// What -fstack-protector-strong -mstack-protector-guard=global asks of a kernel.
// SPDX-License-Identifier: MIT
#include <cstdint>

#include "kernel/arch/x86_64/boot_cpu.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/panic.hpp"

// "used": the compiler names both only after link-time optimisation has dropped what nobody names.
extern "C" {
[[gnu::used]] constinit std::uintptr_t __stack_chk_guard = 0x5bf0'3635'0a61'c100;
[[noreturn, gnu::used]] void __stack_chk_fail();
}

void __stack_chk_fail() {
  kernel::panic("the stack canary was overwritten: a function wrote past the end of a local array", nullptr,
                0);
}

namespace kernel {

namespace {

bool has_rdrand() { return (cpu::cpuid(1).ecx & (1u << 30)) != 0; }

// Intel SDM volume 1, section 7.3.17: ten tries are enough unless the unit is broken.
std::uint64_t hardware_random() {
  for (int tries = 0; tries < 10; ++tries) {
    std::uint64_t value;
    bool good;
    asm volatile("rdrand %0" : "=r"(value), "=@ccc"(good));
    if (good) return value;
  }
  return 0;
}

}  // namespace

[[gnu::no_stack_protector]] void randomise_stack_canary() {
  std::uint64_t value = cpu::tsc() * 0x9e37'79b9'7f4a'7c15;
  if (has_rdrand()) value ^= hardware_random();
  __stack_chk_guard ^= value & ~std::uint64_t{0xff};  // the lowest byte stays 0: it stops a runaway string
}

}  // namespace kernel
