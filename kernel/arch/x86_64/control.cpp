// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/control.hpp"

#include "kernel/arch/x86_64/cpu.hpp"
#include "mm/virtual/entry.hpp"

namespace kernel {

namespace {

// As entry.S: PE, EM, ET, NE, WP, PG; caches on. SSE and x87 instructions trap.
constexpr std::uint64_t kCr0 = 0x8001'0035;
constexpr std::uint64_t kCr4PhysicalExtension = 1u << 5;
constexpr std::uint64_t kEferSyscall = 1u << 0;
constexpr std::uint64_t kEferLongMode = 1u << 8;
constexpr std::uint64_t kEferNoExecute = 1u << 11;

}  // namespace

void load_control_registers() {
  const std::uint32_t features = cpu::cpuid(1).edx;
  constexpr std::uint32_t kHasGlobalPages = 1u << 13;
  constexpr std::uint32_t kHasPat = 1u << 16;

  cpu::set_cr0(kCr0);
  std::uint64_t cr4 =
      kCr4PhysicalExtension | (cpu::cr4() & cpu::kCr4FiveLevels);  // that one is entry.S's to set
  // Kernel mappings are global: they survive a change of the root.
  if ((features & kHasGlobalPages) != 0) cr4 |= cpu::kCr4GlobalPages;
  cpu::set_cr4(cr4);
  const std::uint64_t efer = cpu::read_msr(cpu::Msr::efer);
  cpu::write_msr(cpu::Msr::efer, (efer & (kEferSyscall | kEferLongMode | std::uint64_t{1} << 10)) |
                                     kEferLongMode | kEferNoExecute);
  if ((features & kHasPat) != 0) cpu::write_msr(cpu::Msr::pat, memory::kPageAttributes);
}

}  // namespace kernel
