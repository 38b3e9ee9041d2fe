// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/gdt.hpp"

#include <array>

#include "kernel/arch/x86_64/cpu.hpp"

namespace kernel {

namespace {

struct [[gnu::packed]] TablePointer {
  std::uint16_t limit;
  std::uint64_t base;
};

// Access and flag bits of section 3.4.5; base and limit are ignored in 64-bit mode.
constexpr std::uint64_t kCode64 = 0x00af'9b00'0000'ffff;      // present, ring 0, execute/read, accessed, L
constexpr std::uint64_t kData = 0x00cf'9300'0000'ffff;        // present, ring 0, read/write, accessed
constexpr std::uint64_t kUserCode32 = 0x00cf'fb00'0000'ffff;  // SYSRET's slot for 32-bit code; not used
constexpr std::uint64_t kUserData64 = 0x00cf'f300'0000'ffff;
constexpr std::uint64_t kUserCode64 = 0x00af'fb00'0000'ffff;

constexpr std::array<std::uint64_t, 8> kDescriptors{0,           kCode64,     kData, kUserCode32,
                                                    kUserData64, kUserCode64, 0,     0};

// A system descriptor takes two slots, its base is spread over both (section 8.2.3).
void describe_task_state(Segments& segments) {
  const auto base = reinterpret_cast<std::uint64_t>(&segments.task_state);
  constexpr std::uint64_t kLimit = sizeof(TaskState) - 1;
  constexpr std::uint64_t kAvailableTaskState = 0x89ULL << 40;
  segments.descriptors[kTaskState / 8] =
      kLimit | (base & 0xff'ffff) << 16 | kAvailableTaskState | (base >> 24 & 0xff) << 56;
  segments.descriptors[kTaskState / 8 + 1] = base >> 32;
}

// Loading %gs with a selector would clear its base, so %gs and %fs are left at the null selector they have.
void reload_segment_registers() {
  asm volatile(
      "pushq %0\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "lretq\n"
      "1:\n\t"
      "movl %1, %%eax\n\t"
      "movw %%ax, %%ds\n\t"
      "movw %%ax, %%es\n\t"
      "movw %%ax, %%ss"
      :
      : "i"(std::uint64_t{kKernelCode}), "i"(std::uint32_t{kKernelData})
      : "rax", "memory");
}

}  // namespace

void load_segments(Segments& segments) {
  segments.descriptors = kDescriptors;
  segments.task_state.io_map_base = sizeof(TaskState);
  describe_task_state(segments);

  const TablePointer pointer{sizeof segments.descriptors - 1,
                             reinterpret_cast<std::uint64_t>(segments.descriptors.data())};
  asm volatile("lgdt %0" : : "m"(pointer));
  reload_segment_registers();
  asm volatile("ltr %w0" : : "r"(kTaskState));
}

}  // namespace kernel
