// SPDX-License-Identifier: MIT
#include "kernel/arch/x86_64/pic.hpp"

#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/trap.hpp"

namespace kernel::pic {

namespace {

constexpr std::uint16_t kFirstCommand = 0x20;
constexpr std::uint16_t kFirstData = 0x21;
constexpr std::uint16_t kSecondCommand = 0xa0;
constexpr std::uint16_t kSecondData = 0xa1;
constexpr unsigned kCascade = 2;  // the second controller hangs on this line of the first

constexpr std::uint8_t kReadRequests = 0x0a;   // OCW3: the next read gives the requests
constexpr std::uint8_t kReadInService = 0x0b;  // OCW3: the next read gives what is being served
constexpr std::uint8_t kEnd = 0x20;            // OCW2: non-specific end of interrupt

}  // namespace

void start() {
  cpu::out8(kFirstCommand, 0x11);  // ICW1: edge triggered, cascade, ICW4 follows
  cpu::out8(kSecondCommand, 0x11);
  cpu::out8(kFirstData, kFirstIrq);  // ICW2: the first vector
  cpu::out8(kSecondData, kFirstIrq + 8);
  cpu::out8(kFirstData, 1u << kCascade);  // ICW3: who hangs where
  cpu::out8(kSecondData, kCascade);
  cpu::out8(kFirstData, 0x01);  // ICW4: 8086 mode, normal end of interrupt
  cpu::out8(kSecondData, 0x01);
  cpu::out8(kFirstData, static_cast<std::uint8_t>(~(1u << kCascade)));
  cpu::out8(kSecondData, 0xff);
}

void unmask(unsigned irq) {
  const std::uint16_t port = irq < 8 ? kFirstData : kSecondData;
  cpu::out8(port, static_cast<std::uint8_t>(cpu::in8(port) & ~(1u << (irq & 7))));
}

void mask_all() {
  cpu::out8(kFirstData, 0xff);
  cpu::out8(kSecondData, 0xff);
}

bool is_genuine(unsigned irq) {
  if ((irq & 7) != 7) return true;
  const std::uint16_t port = irq < 8 ? kFirstCommand : kSecondCommand;
  cpu::out8(port, kReadInService);
  if ((cpu::in8(port) & 0x80) != 0) return true;
  if (irq >= 8) cpu::out8(kFirstCommand, kEnd);  // the first one did serve its cascade line
  return false;
}

void end_of_interrupt(unsigned irq) {
  if (irq >= 8) cpu::out8(kSecondCommand, kEnd);
  cpu::out8(kFirstCommand, kEnd);
}

bool tick_pending() {
  cpu::out8(kFirstCommand, kReadRequests);
  return (cpu::in8(kFirstCommand) & 1) != 0;
}

}  // namespace kernel::pic
