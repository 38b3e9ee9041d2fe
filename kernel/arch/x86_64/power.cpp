// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/power.hpp"

#include "kernel/arch/x86_64/cpu.hpp"

namespace kernel::power {

namespace {

constexpr std::uint16_t kDebugExit = 0xf4;  // isa-debug-exit,iobase=0xf4
constexpr std::uint16_t kPvPanic = 0x505;   // QEMU docs/specs/pvpanic: reads as the events it takes
constexpr std::uint8_t kPanicked = 0x01;
constexpr std::uint16_t kPm1Control = 0x604;  // where QEMU's pc and q35 put ACPI's PM1a control block
constexpr std::uint16_t kSleepS5 = 0x2000;

}  // namespace

void leave(ExitCode code) {
  cpu::interrupts_disable();
  cpu::out8(kDebugExit, static_cast<std::uint8_t>(code));
  // Still here: there is no isa-debug-exit.
  if (code == ExitCode::poweroff) {
    cpu::out16(kPm1Control, kSleepS5);
  } else if (const std::uint8_t events = cpu::in8(kPvPanic); events != 0xff && (events & kPanicked) != 0) {
    cpu::out8(kPvPanic, kPanicked);
  }
  cpu::halt_for_ever();
}

void reset() {
  constexpr std::uint16_t kKeyboardStatus = 0x64;
  constexpr std::uint8_t kInputFull = 0x02;
  constexpr std::uint8_t kPulseReset = 0xfe;
  cpu::interrupts_disable();
  for (unsigned polls = 0; polls < 10'000 && (cpu::in8(kKeyboardStatus) & kInputFull) != 0; ++polls) {
  }
  cpu::out8(kKeyboardStatus, kPulseReset);
  for (unsigned i = 0; i < 100'000; ++i) cpu::in8(kKeyboardStatus);  // it takes a moment

  constexpr std::uint16_t kResetControl = 0xcf9;
  cpu::out8(kResetControl, 0x02);
  cpu::out8(kResetControl, 0x06);
  for (unsigned i = 0; i < 100'000; ++i) cpu::in8(kKeyboardStatus);
  triple_fault();
}

void triple_fault() {
  struct [[gnu::packed]] {
    std::uint16_t limit = 0;
    std::uint64_t base = 0;
  } nothing;
  asm volatile("lidt %0; int3" : : "m"(nothing));
  cpu::halt_for_ever();
}

}  // namespace kernel::power
