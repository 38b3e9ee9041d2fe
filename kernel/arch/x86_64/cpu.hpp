// Typed wrappers around the instructions that C++ cannot say. Nothing here decides anything.
// SPDX-License-Identifier: MIT
#pragma once
#include <cstdint>

#include "mm/base/types.hpp"

namespace kernel::cpu {

// -- ports
inline void out8(std::uint16_t port, std::uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
inline void out16(std::uint16_t port, std::uint16_t value) {
  asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
inline std::uint32_t in32(std::uint16_t port) {
  std::uint32_t value;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}
inline std::uint8_t in8(std::uint16_t port) {
  std::uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

// -- control registers (Intel SDM volume 3, section 2.5)
inline std::uint64_t cr0() {
  std::uint64_t value;
  asm volatile("mov %%cr0, %0" : "=r"(value));
  return value;
}
inline void set_cr0(std::uint64_t value) { asm volatile("mov %0, %%cr0" : : "r"(value) : "memory"); }
inline std::uint64_t cr2() {
  std::uint64_t value;
  asm volatile("mov %%cr2, %0" : "=r"(value));
  return value;
}
inline std::uint64_t cr3() {
  std::uint64_t value;
  asm volatile("mov %%cr3, %0" : "=r"(value));
  return value;
}
inline void set_cr3(std::uint64_t value) { asm volatile("mov %0, %%cr3" : : "r"(value) : "memory"); }
inline std::uint64_t cr4() {
  std::uint64_t value;
  asm volatile("mov %%cr4, %0" : "=r"(value));
  return value;
}
inline void set_cr4(std::uint64_t value) { asm volatile("mov %0, %%cr4" : : "r"(value) : "memory"); }

inline constexpr std::uint64_t kCr4GlobalPages = 1u << 7;
inline constexpr std::uint64_t kCr4FiveLevels = 1u << 12;
inline constexpr std::uint64_t kCr4FsGsBase = 1u << 16;

// -- model-specific registers (Intel SDM volume 4)
enum class Msr : std::uint32_t {
  apic_base = 0x1b,
  pat = 0x277,
  efer = 0xc000'0080,
  gs_base = 0xc000'0101,
  kernel_gs_base = 0xc000'0102,
};

inline std::uint64_t read_msr(Msr msr) {
  std::uint32_t low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return std::uint64_t{high} << 32 | low;
}
inline void write_msr(Msr msr, std::uint64_t value) {
  asm volatile("wrmsr"
               :
               : "c"(msr), "a"(static_cast<std::uint32_t>(value)),
                 "d"(static_cast<std::uint32_t>(value >> 32))
               : "memory");
}

// -- identification
struct CpuidLeaf {
  std::uint32_t eax, ebx, ecx, edx;
};
// The caller knows that the leaf exists (leaf 0 and 0x80000000 give the highest).
inline CpuidLeaf cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
  CpuidLeaf answer;
  asm volatile("cpuid"
               : "=a"(answer.eax), "=b"(answer.ebx), "=c"(answer.ecx), "=d"(answer.edx)
               : "a"(leaf), "c"(subleaf));
  return answer;
}

// Under `-icount shift=0` this counts guest instructions.
inline std::uint64_t tsc() {
  std::uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return std::uint64_t{high} << 32 | low;
}

// -- flags and stopping
inline constexpr std::uint64_t kFlagInterrupts = 1u << 9;

inline std::uint64_t flags() {
  std::uint64_t value;
  asm volatile("pushfq; popq %0" : "=r"(value));
  return value;
}
inline bool interrupts_on() { return (flags() & kFlagInterrupts) != 0; }
inline void interrupts_enable() { asm volatile("sti" : : : "memory"); }
inline void interrupts_disable() { asm volatile("cli" : : : "memory"); }

// Sleeps until the next interrupt. Call with interrupts off and the condition just checked: sti takes effect
// after hlt has begun, so an interrupt in between still wakes it. Returns with interrupts on.
inline void interrupts_enable_and_halt() { asm volatile("sti; hlt" : : : "memory"); }

[[noreturn]] inline void halt_for_ever() {
  for (;;) asm volatile("cli; hlt" : : : "memory");
}

// -- translation
inline void invlpg(memory::VirtAddr page) { asm volatile("invlpg (%0)" : : "r"(page.value) : "memory"); }

}  // namespace kernel::cpu
