// SPDX-License-Identifier: MIT
#include "kernel/drivers/serial.hpp"

#include "kernel/arch/x86_64/clock.hpp"
#include "kernel/arch/x86_64/cpu.hpp"
#include "kernel/arch/x86_64/trap.hpp"
#include "mm/base/config.hpp"
#include "mm/base/platform.hpp"

// Registers and bits: National Semiconductor PC16550D data sheet, section 8.
//
// Who touches the ring: drain() puts in, read() takes out, both with interrupts off; on one CPU that is
// enough. Sending waits for THRE before each byte: a 16550 that is written without waiting overruns its FIFO,
// silently.
namespace kernel {

namespace {

enum Register : std::uint16_t {
  kData = 0,             // also the divisor's low byte while kDivisorAccess is set
  kInterruptEnable = 1,  // also the divisor's high byte
  kFifoControl = 2,      // written; read, it is the interrupt identity
  kLineControl = 3,
  kModemControl = 4,
  kLineStatus = 5,
  kModemStatus = 6,
};

constexpr std::uint8_t kReceiveInterrupt = 0x01;
constexpr std::uint8_t kFifosOnTriggerAt14 = 0xc1;  // without the two "clear" bits: see start()
constexpr std::uint8_t kDivisorAccess = 0x80;
constexpr std::uint8_t kEightBitsNoParity = 0x03;
constexpr std::uint8_t kDtr = 0x01;
constexpr std::uint8_t kRts = 0x02;
constexpr std::uint8_t kOut2 = 0x08;  // gates the interrupt line on a PC
constexpr std::uint8_t kLoop = 0x10;
constexpr std::uint8_t kDataReady = 0x01;
constexpr std::uint8_t kOverrun = 0x02;
constexpr std::uint8_t kTransmitterReady = 0x20;

// Polls of a peer that takes nothing, before a byte is given up: some 20 seconds under QEMU.
constexpr std::uint32_t kPatience = 40'000'000;

// Ticks without a byte after which nothing is on its way.
constexpr std::uint64_t kQuietTicks = memory::config::tick_hz / 10 + 1;

}  // namespace

constinit SerialPort com1{0x3f8, 4, std::uint8_t{0x03}};
constinit SerialPort com2{0x2f8, 3};

bool SerialPort::start() {
  // In loop mode the chip wires its modem outputs to its modem inputs: OUT2 and RTS must come back as DCD and
  // CTS. No data byte is at risk, unlike in the usual test.
  cpu::out8(base_ + kModemControl, kLoop | kOut2 | kRts);
  if ((cpu::in8(base_ + kModemStatus) & 0xf0) != 0x90) return false;
  cpu::out8(base_ + kModemControl, kDtr | kRts | kOut2);

  cpu::out8(base_ + kInterruptEnable, 0);
  cpu::out8(base_ + kLineControl, kDivisorAccess);
  cpu::out8(base_ + kData, 1);  // 115200 baud
  cpu::out8(base_ + kInterruptEnable, 0);
  cpu::out8(base_ + kLineControl, kEightBitsNoParity);

  present_ = true;
  // Switching the FIFOs on empties them, and lines that were piped in before we came must not lose a byte:
  // reading the one that waits makes QEMU deliver the next at any moment, so there is no safe moment until
  // the line is quiet.
  if ((cpu::in8(base_ + kLineStatus) & kDataReady) == 0) switch_fifos_on();
  return true;
}

void SerialPort::switch_fifos_on() {
  cpu::out8(base_ + kFifoControl, kFifosOnTriggerAt14);
  fifos_on_ = true;
}

void SerialPort::settle() {
  if (!present_ || fifos_on_ || readable() || clock::ticks() - last_byte_tick_ < kQuietTicks) return;
  switch_fifos_on();
}

void SerialPort::set_receive_interrupt(std::uint8_t enabled) {
  cpu::out8(base_ + kInterruptEnable, enabled);
  cpu::out8(base_ + kModemControl, enabled != 0 ? kDtr | kRts | kOut2 : kDtr | kOut2);
}

void SerialPort::receive_by_interrupt(void (*handler)()) {
  if (!present_) return;
  set_irq_handler(irq_, handler);
  by_interrupt_ = true;
  set_receive_interrupt(kReceiveInterrupt);
  unmask_irq(irq_);
}

void SerialPort::on_interrupt() {
  // Edge triggered: every reason must be gone before we leave, or the line never rises again.
  drain();
}

void SerialPort::drain() {
  while (held() < kRing) {
    const std::uint8_t status = cpu::in8(base_ + kLineStatus);
    if ((status & kOverrun) != 0) ++overruns_;
    if ((status & kDataReady) == 0) return;
    keep(cpu::in8(base_ + kData));
  }
  if (by_interrupt_ && !paused_) {
    paused_ = true;
    set_receive_interrupt(0);
  }
}

void SerialPort::keep(std::uint8_t byte) {
  if (attention_ == byte) {
    tail_ = head_;
    attention_seen_.store(true, std::memory_order_relaxed);
  }
  last_byte_tick_ = clock::ticks();
  ring_[head_++ % kRing] = byte;
}

std::optional<std::uint8_t> SerialPort::read() {
  if (!present_) return std::nullopt;
  const std::uint64_t state = memory::platform::irq_save();
  if (held() == 0) drain();
  std::optional<std::uint8_t> byte;
  if (held() > 0) byte = ring_[tail_++ % kRing];
  if (paused_ && held() < kRing / 2) {
    paused_ = false;
    set_receive_interrupt(kReceiveInterrupt);
  }
  memory::platform::irq_restore(state);
  return byte;
}

bool SerialPort::readable() {
  if (!present_) return false;
  const std::uint64_t state = memory::platform::irq_save();
  if (held() == 0) drain();
  const bool readable = held() > 0;
  memory::platform::irq_restore(state);
  return readable;
}

void SerialPort::write(std::string_view bytes) {
  for (const char byte : bytes) write_byte(static_cast<std::uint8_t>(byte));
}

void SerialPort::write_byte(std::uint8_t byte) {
  if (!present_) return;
  for (std::uint32_t polls = stalled_ ? 1 : kPatience; polls > 0; --polls) {
    if ((cpu::in8(base_ + kLineStatus) & kTransmitterReady) == 0) continue;
    cpu::out8(base_ + kData, byte);
    stalled_ = false;
    return;
  }
  stalled_ = true;
  ++unsent_;
}

}  // namespace kernel
